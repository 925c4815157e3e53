"""Processes that die, and processes that outlive those that should have ended them."""

import os
import signal
from pathlib import Path
from uuid import UUID

import pytest
from support import Platform, children_of, gone, has_line, kill, lives, parent_of

SLEEP = 600.0


async def test_work_of_a_killed_worker_is_done_again_once(
    platform: Platform, tenants: list[UUID], tmp_path: Path
) -> None:
    """The horse of an isolated job dies with its worker, and the child with the horse."""
    marks = [tmp_path / kind for kind in ("test.nap", "test.sleep")]
    jobs = [
        await platform.submit(tenants[0], mark.name, {"seconds": SLEEP, "marks": str(mark)}) for mark in marks
    ]

    async def both_started() -> bool:
        return all(has_line(mark, "started") for mark in marks)

    with platform.workers(1, 1):
        await platform.until(both_started)
        inline, horse = [await platform.runner_of(job) for job in jobs]
        (child,) = children_of(horse)
        os.kill(inline, signal.SIGKILL)
        os.kill(parent_of(horse), signal.SIGKILL)
        await gone(inline, horse, child)
        ended = await platform.finished(tenants[0], jobs)
    assert [job.state for job in ended] == ["completed", "completed"]
    assert [mark.read_text() for mark in marks] == ["started\n" * 2] * 2
    assert [await platform.attempts(job) for job in jobs] == [["lost", "succeeded"]] * 2
    assert await platform.usage() == 2


async def test_a_horse_that_wakes_up_late_writes_nothing(
    platform: Platform, tenants: list[UUID], tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    job = await platform.submit(tenants[0], "test.sleep", {"seconds": 1.0, "marks": str(marks)})

    async def started() -> bool:
        return has_line(marks, "started")

    with platform.workers(0, 2):
        await platform.until(started)
        horse = await platform.runner_of(job)
        worker = parent_of(horse)
        for pid in (worker, horse):
            os.kill(pid, signal.SIGSTOP)
        # Another worker does the job meanwhile; then the horse finds that its child is done too.
        (ended,) = await platform.finished(tenants[0], [job])
        assert await platform.attempts(job) == ["lost", "succeeded"]
        os.kill(horse, signal.SIGCONT)
        await gone(horse)
        os.kill(worker, signal.SIGCONT)
    (seen,) = await platform.seen(tenants[0], [job])
    assert seen == ended
    assert marks.read_text() == "started\n" * 2
    assert await platform.usage() == 1
    assert await platform.rows("SELECT count(*) FROM blob_owners") == [(1,)]


async def test_a_horse_that_stands_still_is_killed_by_its_worker(
    platform: Platform, tenants: list[UUID], tmp_path: Path
) -> None:
    """Without Redis or PostgreSQL: the only worker would be lost otherwise."""
    marks = tmp_path / "marks"
    job = await platform.submit(tenants[0], "test.sleep", {"seconds": SLEEP, "marks": str(marks)})

    async def started() -> bool:
        return has_line(marks, "started")

    with platform.workers(0, 1):
        await platform.until(started)
        horse = await platform.runner_of(job)
        worker = parent_of(horse)
        os.kill(horse, signal.SIGSTOP)
        await gone(horse)
        (ended,) = await platform.finished(tenants[0], [job])
        assert lives(worker)
    assert ended.state == "completed"
    assert await platform.attempts(job) == ["lost", "succeeded"]


@pytest.mark.campaign
async def test_a_child_that_cut_its_tie_changes_nothing(
    platform: Platform, tenants: list[UUID], tmp_path: Path
) -> None:
    """Everything above it is killed at once, so that nobody is left to end it."""
    marks = tmp_path / "marks"
    job = await platform.submit(
        tenants[0], "test.spawn", {"marks": str(marks), "ends": "untied", "seconds": 8.0}
    )

    async def started() -> bool:
        return marks.exists() and len(marks.read_text().split()) == 3

    with platform.workers(0, 1) as first:
        await platform.until(started)
        orphans = [int(pid) for pid in marks.read_text().split()]
        horse = await platform.runner_of(job)
        first.kill()
        await gone(first.pid, horse)
        assert all(map(lives, orphans))
    try:
        with platform.workers(0, 1):
            (ended,) = await platform.finished(tenants[0], [job])

            async def survived() -> bool:
                return has_line(marks, "survived")

            await platform.until(survived)
    finally:
        for pid in orphans:
            kill(pid)
    (seen,) = await platform.seen(tenants[0], [job])
    assert seen == ended
    assert seen.state == "completed"
    assert await platform.output(tenants[0], seen) == b'"again"'
    assert await platform.usage() == 1
    assert await platform.rows("SELECT count(*) FROM blob_owners") == [(1,)]


async def test_a_killed_pool_takes_its_workers_along(platform: Platform) -> None:
    async def serves() -> bool:
        return bool(await platform.rows("SELECT 1 FROM workers"))

    with platform.workers(1, 1) as pool:
        await platform.until(serves)
        workers = children_of(pool.pid)
        assert len(workers) == 2
        pool.kill()
        await gone(*workers)
