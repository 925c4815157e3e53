"""Runs a piece of work again and again in a process that is killed at a given line of the platform's code.

`python dying.py WORK URL FOLDER MORE` reads numbers from its standard input. For each it forks; the child does the work and
gets SIGKILL, from itself, before the line of that number is run. It answers `killed`, or `done` where the work came
to its end first. MORE is the tenant of an upload, and the URL of the queue for the work of the engine.
"""

import asyncio
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from relayer.jobs import (
    attempt_repository,
    blob_collector,
    blob_repository,
    blob_service,
    canceller,
    dispatch_repository,
    dispatcher,
    execution,
    fair,
    queue,
    reaper,
    transition,
)
from relayer.jobs.blob_collector import BlobCollector
from relayer.jobs.blob_service import BlobService
from relayer.jobs.canceller import Canceller
from relayer.jobs.dispatcher import Dispatcher
from relayer.jobs.execution import Execution, Outcome, Result
from relayer.jobs.failure import Failure, Stop
from relayer.jobs.handlers.registry import Handlers, load_handlers
from relayer.jobs.queue import JobQueue
from relayer.jobs.reaper import Reaper
from relayer.jobs.records import OpenAttempt
from relayer.jobs.transition import JobOutput
from relayer.model.clock import utc_now
from relayer.settings import (
    DatabaseSettings,
    DispatcherSettings,
    JanitorSettings,
    ReaperSettings,
    RedisSettings,
)
from relayer.store import blobs, leases
from relayer.store.blobs import SMALL_BYTES, LocalBlobStore
from relayer.store.database import Database

WATCHED = {
    module.__file__
    for module in (
        attempt_repository,
        blob_collector,
        blob_repository,
        blob_service,
        blobs,
        canceller,
        dispatch_repository,
        dispatcher,
        execution,
        fair,
        queue,
        reaper,
        transition,
    )
}
NO_TIME = timedelta(0)
# Rows of many jobs are made and read by the same lines; the files of blobs are deleted one by one.
MOST = {"collect": sys.maxsize, "upload": sys.maxsize}
DATA = bytes(range(256)) * 40

Arm = Callable[[], None]


def watch(number: int, most: int) -> Arm:
    """Kill this process before the line of a number, counted over all threads from when it is armed.

    Threads are watched only if they begin after this. A line that is run again and again counts so many times at most.
    """
    armed = False
    left = number
    times: Counter[tuple[str, int]] = Counter()

    def line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if armed and event == "line":
            place = (frame.f_code.co_filename, frame.f_lineno)
            times[place] += 1
            left -= times[place] <= most
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return line

    def call(frame: FrameType, _: str, __: Any) -> Any:
        return line if frame.f_code.co_filename in WATCHED else None

    def arm() -> None:
        nonlocal armed
        armed = True

    threading.settrace(call)
    sys.settrace(call)
    return arm


async def lead(db: Database, name: str) -> int:
    async with db.transaction() as conn:
        epoch = await leases.acquire(conn, name, "dying", timedelta(minutes=1))
    assert epoch is not None
    return epoch


async def collect(db: Database, store: LocalBlobStore, arm: Arm) -> None:
    epoch = await lead(db, blob_collector.LEASE)
    collector = BlobCollector(db, store, JanitorSettings(grace=NO_TIME), utc_now)
    arm()
    await collector.run_pass(epoch)


async def upload(db: Database, store: LocalBlobStore, arm: Arm) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), 4000):
            yield DATA[start : start + 4000]

    service = BlobService(db, store, utc_now)
    arm()
    await service.upload(UUID(sys.argv[4]), chunks(), "text/plain", "key", 1 << 20, announced=len(DATA))


@cache
def handlers() -> Handlers:
    """Give the handlers; found once, before the first child."""
    return load_handlers()


def redis_queue() -> JobQueue:
    return JobQueue(RedisSettings(url=SecretStr(sys.argv[4])))


async def dispatch(db: Database, _: LocalBlobStore, arm: Arm) -> None:
    epoch = await lead(db, dispatcher.LEASE)
    one = Dispatcher(db, redis_queue(), handlers(), DispatcherSettings(), utc_now)
    arm()
    await one.run_pass(epoch)


async def dispatched(db: Database) -> list[UUID]:
    async with db.transaction() as conn:
        cursor = await conn.execute("SELECT id FROM attempts WHERE state = 'dispatched'")
        return [row[0] for row in await cursor.fetchall()]


async def open_attempts(db: Database, store: LocalBlobStore, arm: Arm) -> None:
    ids = await dispatched(db)
    arm()
    await Execution(db, "dying", NO_TIME, utc_now, store).open(ids)


async def finish(db: Database, store: LocalBlobStore, arm: Arm) -> None:
    """One end of each kind, in the order in which their jobs were submitted."""
    worker = Execution(db, "dying", NO_TIME, utc_now, store)
    opened: list[OpenAttempt] = await worker.open(await dispatched(db))

    async def chunks(size: int) -> AsyncIterator[bytes]:
        yield b"x" * size

    made = [await store.put(chunks(size), 1 << 30) for size in (1, SMALL_BYTES + 1)]
    outcomes: list[Outcome] = [
        *(JobOutput(one.hash, one.size, "text/plain", one.content) for one in made),
        Failure("again", "once more", retryable=True),
        Failure("bad", "never", retryable=False),
        Failure("ugly", "no", retryable=False, rejected=True),
        Stop.DRAINED,
        Stop.CANCELLED,
    ]
    opened.sort(key=lambda one: one.job_id)
    results = [Result(attempt, outcome) for attempt, outcome in zip(opened, outcomes, strict=True)]
    arm()
    await worker.finish(results)


async def reap(db: Database, _: LocalBlobStore, arm: Arm) -> None:
    epoch = await lead(db, reaper.LEASE)
    one = Reaper(db, ReaperSettings(max_losses=1), utc_now)
    arm()
    await one.run_pass(epoch)


async def cancel(db: Database, _: LocalBlobStore, arm: Arm) -> None:
    epoch = await lead(db, canceller.LEASE)
    one = Canceller(db, redis_queue(), ReaperSettings(force_cancel_after=NO_TIME), utc_now)
    arm()
    await one.run_pass(epoch)


WORKS: dict[str, Callable[[Database, LocalBlobStore, Arm], Awaitable[None]]] = {
    "cancel": cancel,
    "collect": collect,
    "dispatch": dispatch,
    "finish": finish,
    "open": open_attempts,
    "reap": reap,
    "upload": upload,
}


async def work(arm: Arm) -> None:
    settings = DatabaseSettings(url=SecretStr(sys.argv[2]), pool_size=2)
    async with Database(settings) as db:
        await WORKS[sys.argv[1]](db, LocalBlobStore(Path(sys.argv[3])), arm)


def main() -> None:
    sys.path.append(str(Path(__file__).resolve().parents[2] / "handlers"))
    handlers()
    for text in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(work(watch(int(text), MOST.get(sys.argv[1], 2))))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else "done" if status == 0 else "failed", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
