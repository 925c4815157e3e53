"""Where RQ enters: the two functions that the queues name. Connections open here, after any fork."""

import asyncio
import atexit
import os
import signal
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import UUID

from relayer.jobs.execution import Execution, Result
from relayer.jobs.handlers.registry import Handlers, load_handlers
from relayer.jobs.inline import InlineWorker
from relayer.jobs.inline_desk import InlineDesk
from relayer.jobs.isolated import IsolatedWorker
from relayer.jobs.job_blobs import JobBlobs
from relayer.jobs.lease_keeper import LeaseKeeper
from relayer.jobs.pulse import Pulse
from relayer.jobs.tied import take_in_orphans
from relayer.model.clock import utc_now
from relayer.model.errors import UnavailableError
from relayer.settings import BlobSettings, DatabaseSettings, WorkerSettings, cores
from relayer.store.blobs import BlobStore, LocalBlobStore
from relayer.store.database import Database
from relayer.store.runner import Runner, ThreadRunner

_GAVE_UP = 70
# How long the last ends of a process that gives up may take to be written.
_LAST_WRITE_S = 10.0
# A horse shares these with its worker.
pulse = Pulse()
scratch = Path(os.devnull)


def run_inline(attempt_ids: list[str], alone: bool = False) -> None:  # as JSON brings it
    """Begin attempts of inline handlers in this process."""
    inline_desk().begin([UUID(one) for one in attempt_ids], alone=alone)


def drain_inline() -> None:
    """Hand back what still runs in this process when its time of grace is over. May be called by a signal handler."""
    _inline_parts().drain_later()


def run_isolated(attempt_ids: list[str]) -> None:
    """Run attempts of isolated handlers, each in a child of this process, a work-horse that ends with it.

    SIGTERM starts the time of grace, after which what still runs is handed back.
    """
    take_in_orphans()
    parts = _parts(Runner())
    signal.signal(signal.SIGTERM, lambda *_: parts.drain_later())
    # The worker forks with the signal blocked, so that none is lost before this line.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    worker = IsolatedWorker(
        parts.execution,
        parts.keeper,
        parts.blobs,
        scratch=scratch,
        max_bytes=parts.max_bytes,
        memory_bytes=parts.settings.memory_bytes,
        cores=cores(),
    )
    for one in attempt_ids:
        parts.runner.run(worker.run(UUID(one)))
    parts.close()


@dataclass(frozen=True)
class _Parts:
    settings: WorkerSettings
    runner: Runner | ThreadRunner
    db: Database
    execution: Execution
    keeper: LeaseKeeper
    blobs: JobBlobs
    max_bytes: int

    def drain_later(self) -> None:
        """Hand back what still runs when the time of grace is over."""
        timer = threading.Timer(self.settings.drain_grace.total_seconds(), self.keeper.drain)
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        """End the thread, the connections and the loop."""
        self.keeper.close()
        self.runner.run(self.db.close())
        self.runner.close()


def _parts(runner: Runner | ThreadRunner) -> _Parts:
    settings, blobs = WorkerSettings(), BlobSettings()
    # One connection commits, and one looks for blobs meanwhile; the second is opened when it is needed.
    database = DatabaseSettings(pool_size=2)
    store = LocalBlobStore(blobs.folder)
    name = f"{socket.gethostname()}/{os.getpid()}"

    def give_up(results: Sequence[Result]) -> None:
        try:
            asyncio.run(
                asyncio.wait_for(_write_last(database, name, settings, store, results), _LAST_WRITE_S)
            )
        finally:
            os._exit(_GAVE_UP)

    db = Database(database)
    runner.run(db.open())
    return _Parts(
        settings,
        runner,
        db,
        Execution(db, name, settings.lease, utc_now, store),
        LeaseKeeper(database, settings, give_up, pulse.beat),
        JobBlobs(db, store, blobs.max_bytes),
        blobs.max_bytes,
    )


async def _write_last(
    database: DatabaseSettings,
    name: str,
    settings: WorkerSettings,
    store: BlobStore,
    results: Sequence[Result],
) -> None:
    """Write ends down by a connection of its own, because the process's loop does not turn any more."""
    with suppress(UnavailableError):
        async with Database(database) as db:
            await Execution(db, name, settings.lease, utc_now, store).finish(results)


@cache
def _inline_parts() -> _Parts:
    parts = _parts(_inline_runner())
    atexit.register(parts.close)
    return parts


@cache
def _inline_runner() -> ThreadRunner:
    return ThreadRunner()


@cache
def inline_desk() -> InlineDesk:
    """One a process: its loop, connection and handlers serve every call."""
    parts = _inline_parts()
    worker = InlineWorker(parts.execution, parts.keeper, installed_handlers(), parts.blobs)
    return InlineDesk(worker, _inline_runner())


@cache
def installed_handlers() -> Handlers:
    """The handlers of this process, loaded once; a plug-in that was installed later is seen after a restart."""
    return load_handlers()
