"""Runs a piece of work again and again in a process that is killed at a given line of the platform's code.

`python dying.py WORK URL FOLDER` reads numbers from its standard input. For each it forks; the child does the work and
gets SIGKILL, from itself, before the line of that number is run. It answers `killed`, or `done` where the work came
to its end first.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from relayer.jobs import blob_collector, blob_repository, blob_service
from relayer.jobs.blob_collector import LEASE, BlobCollector
from relayer.jobs.blob_service import BlobService
from relayer.model.clock import utc_now
from relayer.settings import DatabaseSettings, JanitorSettings
from relayer.store import blobs, leases
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database

WATCHED = {module.__file__ for module in (blobs, blob_collector, blob_repository, blob_service)}
DATA = bytes(range(256)) * 40

Arm = Callable[[], None]


def watch(number: int) -> Arm:
    """Kill this process before the line of a number, counted over all threads from when it is armed.

    Threads are watched only if they begin after this.
    """
    armed = False
    left = number

    def line(_: FrameType, event: str, __: Any) -> Any:
        nonlocal left
        if armed and event == "line":
            left -= 1
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


async def collect(db: Database, store: LocalBlobStore, arm: Arm) -> None:
    async with db.transaction() as conn:
        epoch = await leases.acquire(conn, LEASE, "dying", timedelta(minutes=1))
    assert epoch is not None
    collector = BlobCollector(db, store, JanitorSettings(grace=timedelta(0)), utc_now)
    arm()
    await collector.run_pass(epoch)


async def upload(db: Database, store: LocalBlobStore, arm: Arm) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), 4000):
            yield DATA[start : start + 4000]

    service = BlobService(db, store, utc_now)
    arm()
    await service.upload(UUID(sys.argv[4]), chunks(), "text/plain", "key", 1 << 20, announced=len(DATA))


WORKS: dict[str, Callable[[Database, LocalBlobStore, Arm], Awaitable[None]]] = {
    "collect": collect,
    "upload": upload,
}


async def work(arm: Arm) -> None:
    settings = DatabaseSettings(url=SecretStr(sys.argv[2]), pool_size=2)
    async with Database(settings) as db:
        await WORKS[sys.argv[1]](db, LocalBlobStore(Path(sys.argv[3])), arm)


def main() -> None:
    for text in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(work(watch(int(text))))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else "done" if status == 0 else "failed", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
