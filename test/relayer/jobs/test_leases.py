"""Leases, fencing tokens, and what becomes of finished work while the database is away."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from support import Platform, has_line

from relayer.jobs.execution import Execution, Result
from relayer.jobs.failure import Failure
from relayer.jobs.records import OpenAttempt
from relayer.jobs.transition import JobOutput
from relayer.local.postgres import EmbeddedPostgres
from relayer.model.clock import utc_now
from relayer.model.errors import UnavailableError
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database


async def opened(platform: Platform, execution: Execution) -> Sequence[OpenAttempt]:
    """Open what is dispatched."""
    rows = await platform.rows("SELECT id FROM attempts WHERE state = 'dispatched'")
    return await execution.open([row[0] for row in rows])


async def test_a_lease_is_renewed_while_a_handler_blocks_the_loop(
    platform: Platform, tenants: list[UUID], tmp_path: Path
) -> None:
    """Also that of the job beside it, whose handler could not even start."""
    blocks = await platform.submit(
        tenants[0], "test.block.inline", {"marks": str(tmp_path / "marks"), "seconds": 4.0}
    )
    beside = await platform.submit(tenants[0], "digest", {"text": "a"})
    with platform.workers(1, 0):
        ended = await platform.finished(tenants[0], [blocks, beside])
    assert [job.state for job in ended] == ["completed", "completed"]
    assert [await platform.attempts(job) for job in ended] == [["succeeded"], ["succeeded"]]


async def test_a_stale_token_writes_nothing(
    platform: Platform, tenants: list[UUID], relayer_db: Database, blobs: LocalBlobStore
) -> None:
    job = await platform.submit(tenants[0], "digest", {"text": "a"})
    await platform.dispatch()
    slow = Execution(relayer_db, "slow", timedelta(0), utc_now, blobs)
    (attempt,) = await opened(platform, slow)
    assert await slow.open([attempt.id]) == []
    await asyncio.sleep(0.01)
    assert await platform.reap() == 1
    assert await slow.finish([Result(attempt, JobOutput(bytes(32), 1, "text/plain"))]) == set()
    assert await slow.finish([Result(attempt, Failure("late", "too late", retryable=False))]) == set()
    (seen,) = await platform.seen(tenants[0], [job])
    assert (seen.state, seen.status_reason, seen.output_hash) == ("created", "no_worker", None)
    assert await platform.rows("SELECT count(*) FROM blobs") == [(0,)]


async def test_a_job_that_kills_its_workers_fails_in_the_end(
    platform: Platform, tenants: list[UUID], relayer_db: Database, blobs: LocalBlobStore
) -> None:
    """Lost attempts have a budget of their own: the one failure that this job may have is not spent."""
    job = await platform.submit(tenants[0], "digest", {"text": "a"}, max_attempts=1)
    doomed = Execution(relayer_db, "doomed", timedelta(0), utc_now, blobs)
    for _ in range(3):
        assert await platform.dispatch() == 1
        assert len(await opened(platform, doomed)) == 1
        await asyncio.sleep(0.01)
        await platform.reap()
    (seen,) = await platform.seen(tenants[0], [job])
    assert seen.state == "failed"
    assert seen.error is not None
    assert (seen.error["code"], seen.error["retryable"], seen.error["attempt"]) == ("worker_lost", False, 3)
    assert await platform.attempts(job) == ["lost"] * 3


async def test_an_end_is_written_when_the_database_is_back(
    platform: Platform, tenants: list[UUID], tmp_path: Path, postgres_server: EmbeddedPostgres
) -> None:
    marks = {kind: tmp_path / kind for kind in ("test.nap", "test.sleep")}
    jobs = [
        await platform.submit(tenants[0], kind, {"seconds": 2.0, "marks": str(path)})
        for kind, path in marks.items()
    ]

    async def started() -> bool:
        return all(has_line(path, "started") for path in marks.values())

    with platform.workers(1, 1, JOBSEAL_WORKER_LEASE="PT60S"):
        await platform.until(started)
        postgres_server.stop()
        try:
            # Both come to their end meanwhile.
            await asyncio.sleep(3)
        finally:
            postgres_server.start()

        async def ended() -> bool:
            try:
                return [await platform.attempts(job) for job in jobs] == [["succeeded"]] * 2
            except UnavailableError:
                return False

        await platform.until(ended)
    assert [job.state for job in await platform.seen(tenants[0], jobs)] == ["completed"] * 2
    assert await platform.usage() == 2


@pytest.mark.parametrize("is_held", [True, False])
async def test_an_end_is_given_up_with_its_lease(
    platform: Platform, tenants: list[UUID], relayer_db: Database, blobs: LocalBlobStore, is_held: bool
) -> None:
    await platform.submit(tenants[0], "digest", {"text": "a"})
    await platform.dispatch()
    execution = Execution(relayer_db, "worker", timedelta(minutes=1), utc_now, blobs)
    (attempt,) = await opened(platform, execution)
    result = Result(attempt, Failure("late", "too late", retryable=False))
    written = await execution.finish_while_held([result], lambda _: is_held)
    assert written == ({attempt.id} if is_held else set())
