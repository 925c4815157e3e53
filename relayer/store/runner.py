"""Doors from synchronous code (an RQ entry, the CLI) into asynchronous code: one loop a process."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


class Runner:
    """One event loop that lives as long as the process, so that connections outlast a call."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end and give the result."""
        return self._runner.run(work)

    def close(self) -> None:
        """Cancel what is left and close the loop."""
        self._runner.close()


class ThreadRunner:
    """One event loop, uvloop's, in a thread of its own, so that work goes on while the caller does something else."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin, and give what will hold the result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end and give the result."""
        return self.start(work).result()

    def close(self) -> None:
        """End the thread; nothing may be left running."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
