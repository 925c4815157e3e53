"""One attempt as its worker holds it: the lease, what it reported, and how it is asked to stop."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from relayer.jobs.failure import Stop
from relayer.jobs.records import OpenAttempt

# How long a handler may take to come to an end once it is cancelled.
_PATIENCE_S = 2.0


class Hold:
    """One attempt as its worker holds it; any thread may call it, callbacks run in the loop that made it.

    Attributes:
        until: the monotonic time until which the lease certainly holds.
        progress: what the handler reported last, as JSON text.
        stop: why the attempt should come to an end; the handler may still come to one of its own.
        on_stop: called once when the attempt should come to an end.

    """

    def __init__(self, attempt: OpenAttempt, until: float, grace_s: float) -> None:
        self.attempt = attempt
        self.until = until
        self.progress: str | None = None
        self.stop: Stop | None = None
        self.on_stop: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._grace_s = grace_s
        self._must_end = False
        self._is_settled = False
        self._stuck_from = time.monotonic() + attempt.run_limit.total_seconds() + _PATIENCE_S
        self._lock = threading.Lock()

    @property
    def is_lost(self) -> bool:
        """Whether the lease is lost, so that nothing may be written."""
        return self.stop is Stop.LOST

    @property
    def was_ended(self) -> bool:
        """Whether the handler was stopped in its tracks, so that whatever it raised is no end of its own."""
        return self._must_end

    def run_in(self, task: "asyncio.Task[object] | None") -> None:
        """Say which task runs the handler; called in the loop."""
        self._task = task
        if self._must_end:
            self._cancel()

    def settle(self) -> None:
        """Say that the handler has come to its end: nothing is left to stop."""
        self._is_settled = True
        self._task = None

    def is_stuck(self, now: float) -> bool:
        """Whether the handler still runs although its time was over a while ago."""
        return not self._is_settled and now > self._stuck_from

    def ask_to_stop(self, why: Stop) -> None:
        """Let the handler come to an end by itself for the time of grace, then end it."""
        with self._lock:
            if self.stop is not None:
                return
            self.stop = why
            self._expect_end(self._grace_s)
        self._call(self._begin_grace)

    def end(self, why: Stop) -> None:
        """Stop the attempt now."""
        with self._lock:
            # A job to be cancelled stays one; a lost lease overrides everything.
            if self.stop is None or why is Stop.LOST:
                self.stop = why
            self._must_end = True
            self._expect_end(0.0)
        self._call(self._cancel)

    def _expect_end(self, after_s: float) -> None:
        self._stuck_from = min(self._stuck_from, time.monotonic() + after_s + _PATIENCE_S)

    def _call(self, callback: Callable[[], None]) -> None:
        # A loop that is closed runs nothing that could be stopped.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)

    def _begin_grace(self) -> None:
        self._loop.call_later(self._grace_s, self._end_grace)
        if self.on_stop is not None:
            self.on_stop()

    def _end_grace(self) -> None:
        self._must_end = True
        self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
