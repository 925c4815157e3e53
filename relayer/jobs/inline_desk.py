"""Where the inline attempts of a process are begun and counted: more are taken while some still run."""

import sys
import threading
import traceback
from collections.abc import Collection
from concurrent.futures import Future
from uuid import UUID

from relayer.jobs.inline import InlineWorker
from relayer.model.errors import UnavailableError
from relayer.store.runner import ThreadRunner

# How many attempts may run in a process when it takes more.
_ROOM = 100


class InlineDesk:
    """The one place of a process that begins inline attempts, on the loop of a thread."""

    def __init__(self, worker: InlineWorker, runner: ThreadRunner) -> None:
        self._worker = worker
        self._runner = runner
        self._running = 0
        self._room = _ROOM
        self._changed = threading.Condition()

    def begin(self, ids: Collection[UUID], *, alone: bool) -> None:
        """Open attempts and begin them; one that cannot be opened is pushed again after a while.

        Those that run `alone` have nobody beside them, before or after, whom they could take along when they kill the
        process.
        """
        if alone:
            self.wait_until_idle()
        self._room = 1 if alone else _ROOM
        self._count(len(ids))
        opened = threading.Event()
        work = self._worker.run(ids, opened=opened.set, ended=lambda ended: self._count(-ended))
        self._runner.start(work).add_done_callback(_say)
        # Two threads that compute take turns of milliseconds; the first handlers begin sooner without this one.
        opened.wait()

    def wait_for_room(self) -> None:
        """Wait until more attempts may be begun."""
        with self._changed:
            self._changed.wait_for(lambda: self._running < self._room)

    def wait_until_idle(self) -> None:
        """Wait until none runs."""
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0)

    def _count(self, more: int) -> None:
        with self._changed:
            self._running += more
            self._changed.notify_all()


def _say(done: "Future[None]") -> None:
    """Print what broke a whole group of attempts; their leases run out."""
    error = done.exception()
    if isinstance(error, UnavailableError):
        sys.stderr.write(f"{error}\n")
    elif error is not None:
        traceback.print_exception(error)
