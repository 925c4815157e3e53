"""The door from synchronous code (an RQ entry, the CLI) into asynchronous code: one loop a process."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

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
