"""Workers that are asked to stop."""

import os
import signal
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from support import Platform, children_of, has_line, parent_of

KINDS = ("test.nap", "test.sleep")
# Nothing in these tests waits as long; a worker that did would be killed by its pool, and its attempt lost.
LONG = "PT60S"


async def test_idle_workers_stop_without_waiting(platform: Platform, tenants: list[UUID]) -> None:
    with platform.workers(1, 1, JOBSEAL_WORKER_DRAIN_GRACE=LONG) as pool:
        for kind in KINDS:
            assert (await platform.end_of(tenants[0], kind, {"seconds": 0.0})).state == "completed"
        assert len(await platform.rows("SELECT 1 FROM workers")) == 2
        pool.terminate()
        assert pool.wait(30) == 0
    assert await platform.rows("SELECT 1 FROM workers") == []


async def test_what_ends_within_the_grace_is_finished(
    platform: Platform, tenants: list[UUID], tmp_path: Path
) -> None:
    marks = [tmp_path / kind for kind in KINDS]
    jobs = [
        await platform.submit(tenants[0], kind, {"seconds": 2.0, "marks": str(mark)})
        for kind, mark in zip(KINDS, marks, strict=True)
    ]

    async def both_started() -> bool:
        return all(has_line(mark, "started") for mark in marks)

    with platform.workers(1, 1, JOBSEAL_WORKER_DRAIN_GRACE=LONG) as pool:
        await platform.until(both_started)
        pool.terminate()
        assert pool.wait(50) == 0
    assert [job.state for job in await platform.seen(tenants[0], jobs)] == ["completed"] * 2
    assert [await platform.attempts(job) for job in jobs] == [["succeeded"]] * 2


@pytest.mark.parametrize(
    "everybody",
    [pytest.param(False, id="twice", marks=pytest.mark.campaign), pytest.param(True, id="everybody")],
)
async def test_what_does_not_is_handed_back(
    platform: Platform, tenants: list[UUID], tmp_path: Path, everybody: bool
) -> None:
    """Whether the pool is told, even twice, or every process of it, as a service manager does."""
    marks = [tmp_path / kind for kind in KINDS]
    jobs = [
        await platform.submit(tenants[0], kind, {"seconds": 600.0, "marks": str(mark)}, max_attempts=1)
        for kind, mark in zip(KINDS, marks, strict=True)
    ]

    async def both_started() -> bool:
        return all(has_line(mark, "started") for mark in marks)

    with platform.workers(1, 1) as pool:
        await platform.until(both_started)
        horse = await platform.runner_of(jobs[1])
        processes = [pool.pid, *children_of(pool.pid), horse, *children_of(horse)]
        assert len(processes) == 5
        assert parent_of(horse) in processes
        for pid in processes if everybody else [pool.pid] * 2:
            os.kill(pid, signal.SIGTERM)
        assert pool.wait(50) == 0
    seen = await platform.seen(tenants[0], jobs)
    assert [(job.state, job.status_reason) for job in seen] == [("created", "worker_stopped")] * 2
    assert [await platform.attempts(job) for job in jobs] == [["returned"]] * 2
    with platform.workers(1, 1):
        ended = await platform.finished(tenants[0], jobs)
    assert [job.state for job in ended] == ["completed"] * 2
    assert [await platform.attempts(job) for job in jobs] == [["returned", "succeeded"]] * 2
    assert await platform.usage() == 2


async def test_a_handler_that_holds_up_its_worker_is_handed_back_too(
    platform: Platform, tenants: list[UUID], tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    job = await platform.submit(
        tenants[0], "test.block.inline", {"marks": str(marks)}, run_limit=timedelta(hours=1)
    )

    async def started() -> bool:
        return has_line(marks, "started")

    with platform.workers(1, 0) as pool:
        await platform.until(started)
        pool.terminate()
        assert pool.wait(50) == 0
    (seen,) = await platform.seen(tenants[0], [job])
    assert (seen.state, seen.status_reason) == ("created", "worker_stopped")
    assert await platform.attempts(job) == ["returned"]
