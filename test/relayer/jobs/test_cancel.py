"""Cancellation, carried out on real workers."""

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from support import Platform, gone, has_line, lives, parent_of

from relayer.jobs.errors import JobEndedError
from relayer.settings import ReaperSettings

WORKER = {"JOBSEAL_WORKER_LEASE": "PT60S"}
BOTH = pytest.mark.parametrize(
    "kind", ["test.polite", "test.polite.inline", "test.stubborn", "test.stubborn.inline"]
)


async def started(platform: Platform, marks: Path) -> None:
    async def has_started() -> bool:
        return has_line(marks, "started")

    await platform.until(has_started)


@BOTH
async def test_a_job_that_runs_is_cancelled(
    served: Platform, tenants: list[UUID], tmp_path: Path, kind: str
) -> None:
    """A handler that looks ends by itself; one that does not is ended after its time of grace."""
    marks = tmp_path / "marks"
    job = await served.submit(tenants[0], kind, {"marks": str(marks)})
    await started(served, marks)
    await served.service.cancel(tenants[0], job.id)
    await served.service.cancel(tenants[0], job.id)
    (ended,) = await served.finished(tenants[0], [job])
    assert (ended.state, ended.status_reason, ended.output_hash) == ("cancelled", "cancel_requested", None)
    assert has_line(marks, "stopped") == ("polite" in kind)
    assert await served.attempts(job) == ["cancelled"]
    assert await served.usage() == 0
    again = await served.service.cancel(tenants[0], job.id)
    assert again == ended
    # The worker is as good as new.
    assert (await served.end_of(tenants[0], "digest", {"text": "a"})).state == "completed"


async def test_a_horse_that_stands_still_is_ended_by_force(
    served: Platform, tenants: list[UUID], tmp_path: Path
) -> None:
    forceful = replace(served, reaping=ReaperSettings(force_cancel_after=timedelta(seconds=0.5)))
    marks = tmp_path / "marks"
    job = await served.submit(tenants[0], "test.stubborn", {"marks": str(marks)})
    await started(served, marks)
    horse = await served.runner_of(job)
    worker = parent_of(horse)
    os.kill(horse, signal.SIGSTOP)
    await served.service.cancel(tenants[0], job.id)
    (ended,) = await forceful.finished(tenants[0], [job])
    assert (ended.state, ended.status_reason) == ("cancelled", "cancel_forced")
    await gone(horse)
    assert lives(worker)
    assert await served.attempts(job) == ["cancelled"]
    assert await served.usage() == 0


async def test_a_handler_that_holds_up_its_worker_is_ended_with_it(
    served: Platform, tenants: list[UUID], tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    job = await served.submit(tenants[0], "test.block.inline", {"marks": str(marks)})
    await started(served, marks)
    await served.service.cancel(tenants[0], job.id)
    (ended,) = await served.finished(tenants[0], [job])
    assert (ended.state, ended.status_reason) == ("cancelled", "cancel_requested")
    assert await served.attempts(job) == ["cancelled"]
    assert await served.usage() == 0


async def test_a_cancellation_and_an_end_have_one_winner(served: Platform, tenants: list[UUID]) -> None:
    jobs = [await served.submit(tenants[0], "test.nap", {"seconds": 0.01 * number}) for number in range(30)]

    async def cancel_some() -> None:
        for job in jobs[::2]:
            with suppress(JobEndedError):
                await served.service.cancel(tenants[0], job.id)
            await asyncio.sleep(0.01)

    await served.dispatch()
    _, ended = await asyncio.gather(cancel_some(), served.finished(tenants[0], jobs))
    done = [job for job in ended if job.state == "completed"]
    assert {job.state for job in ended} <= {"completed", "cancelled"}
    assert {job.state for job in ended[1::2]} == {"completed"}
    assert await served.usage() == len(done)
    assert all((job.output_hash is not None) == (job.state == "completed") for job in ended)
    states = {job.id: await served.attempts(job) for job in ended}
    assert {job.id for job in done} == {id_ for id_, one in states.items() if one == ["succeeded"]}
