"""Inline jobs share a process: a slow one holds up nobody, a deadly one takes nobody along, a blocking one is ended."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from support import Platform, has_line

from relayer.jobs.execution import Execution, Result
from relayer.jobs.handlers.base import Context, Output
from relayer.jobs.handlers.registry import Handlers
from relayer.jobs.inline import InlineWorker
from relayer.jobs.job_blobs import JobBlobs
from relayer.jobs.lease_keeper import LeaseKeeper
from relayer.jobs.transition import Change, transition
from relayer.model.clock import utc_now
from relayer.model.lifecycle import JobState
from relayer.settings import DatabaseSettings, WorkerSettings
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database

LONG_S = 60.0


async def test_a_slow_job_holds_up_nobody(platform: Platform, tenants: list[UUID], tmp_path: Path) -> None:
    """One process serves both tenants; the first job would last for longer than any wait of the test."""
    marks = tmp_path / "marks"

    async def started() -> bool:
        return has_line(marks, "started")

    with platform.workers(1, 0, JOBSEAL_WORKER_DRAIN_GRACE="PT0S"):
        slow = await platform.submit(tenants[0], "test.nap", {"seconds": 600.0, "marks": str(marks)})
        await platform.until(started)
        quick = await platform.end_of(tenants[1], "digest", {"text": "quick"})
        (slow,) = await platform.seen(tenants[0], [slow])
    assert (slow.state, quick.state) == (JobState.PROCESSING, JobState.COMPLETED)


async def test_a_job_that_kills_its_worker_takes_nobody_along_for_good(
    platform: Platform, tenants: list[UUID]
) -> None:
    """Once it may: nobody can know who it was. From then on those that were there have the process to themselves."""
    deadly = await platform.submit(tenants[0], "test.crash.inline", {})
    others = [await platform.submit(tenant, "test.nap", {"seconds": 0.3}) for tenant in tenants[:2] * 3]
    with platform.workers(1, 0):
        ended = [
            *await platform.finished(tenants[0], [deadly, *others[::2]]),
            *await platform.finished(tenants[1], others[1::2]),
        ]
    assert [job.state for job in ended] == [JobState.FAILED] + [JobState.COMPLETED] * 6
    assert ended[0].error is not None
    assert ended[0].error["code"] == "worker_lost"
    lost = [(await platform.attempts(job)).count("lost") for job in others]
    assert max(lost) <= 1


async def test_a_handler_that_blocks_the_loop_amid_a_commit_is_ended(
    platform: Platform,
    tenants: list[UUID],
    urls: Any,
    blobs: LocalBlobStore,
    handlers: Handlers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The end of its neighbour is being written, and stands still with the row's lock: leases are looked after all the same."""
    await platform.submit(tenants[0], "digest", {"text": "quick"})
    await platform.submit(tenants[1], "test.nap", {"seconds": 0.0}, run_limit=timedelta(seconds=1))
    await platform.dispatch()
    ids = [row[0] for row in await platform.rows("SELECT id FROM attempts")]
    gave_up = threading.Event()

    async def work() -> None:
        in_commit = asyncio.Event()

        async def announced(conn: Any, changes: Sequence[Change], at: Any) -> frozenset[UUID]:
            if any(change.target is JobState.COMPLETED for change in changes):
                in_commit.set()
            return await transition(conn, changes, at)

        class Blocks:
            kind, mode, input_model = "test.nap", handlers["test.nap"].mode, handlers["test.nap"].input_model

            async def run(self, _: Any, context: Context) -> Output:
                await in_commit.wait()
                gave_up.wait(LONG_S)
                return Output.json(1)

        def give_up(_: Sequence[Result]) -> None:
            gave_up.set()

        monkeypatch.setattr("relayer.jobs.execution.transition", announced)
        database = DatabaseSettings(url=SecretStr(urls.relayer), pool_size=2)
        settings = WorkerSettings(
            lease=timedelta(seconds=3), renew_every=timedelta(seconds=0.3), check_every=timedelta(seconds=0.1)
        )
        async with Database(database) as db:
            keeper = LeaseKeeper(database, settings, give_up)
            engine = Execution(db, "test", settings.lease, utc_now, blobs)
            worker = InlineWorker(
                engine, keeper, {**handlers, "test.nap": Blocks()}, JobBlobs(db, blobs, 1 << 20)
            )
            await worker.run(ids)
            keeper.close()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert gave_up.is_set()
    assert await platform.rows("SELECT state FROM attempts ORDER BY kind") == [("succeeded",), ("failed",)]
