"""Limits of time and of processes, each hit for real."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from support import Platform

# What a horse does, without stores: everything that descends from this process ends with the child.
BURN = """
import asyncio, os, pathlib, sys
from datetime import timedelta
from relayer.jobs.conversation import Conversation, Limits, Request
from relayer.jobs.hold import Hold
from relayer.jobs.records import OpenAttempt
from relayer.model.ids import new_id

async def main():
    folder, second = pathlib.Path(sys.argv[1]), timedelta(seconds=1)
    (folder / "work").mkdir()
    log, output = (os.open(folder / name, os.O_RDWR | os.O_CREAT) for name in ("log", "output"))
    attempt = OpenAttempt(
        new_id(), new_id(), new_id(), 1, 1, "test.wall", "{}", 1, 1, second, second, None, 600 * second, False, 0, True
    )
    request = Request("test.wall", '{"wall":"cpu"}', [], Limits(cpu_s=1, memory_bytes=1 << 29, file_bytes=1 << 20))
    answer = await Conversation(request, Hold(attempt, 0, 0), folder, log, output).run()
    print(answer.code, answer.message, answer.retryable)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("wall", "code"), [("memory", "memory_limit"), ("file", "file_limit"), ("output", "output_too_large")]
)
async def test_a_handler_that_wants_too_much_fails_for_good(
    served: Platform, tenants: list[UUID], wall: str, code: str
) -> None:
    job = await served.end_of(tenants[0], "test.wall", {"wall": wall})
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["retryable"]) == (code, False)
    assert await served.usage() == 0


def test_processor_time_is_limited_by_the_kernel(tmp_path: Path, worker_environment: dict[str, str]) -> None:
    """So that a child ends even where the process that watches its time stands still."""
    burnt = subprocess.run(
        [sys.executable, "-c", BURN, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": worker_environment["PYTHONPATH"]},
    )
    assert burnt.stdout == "run_limit the job used more processor time than its run limit allows False\n"


@pytest.mark.parametrize("kind", ["test.brief", "test.brief.inline"])
async def test_a_job_that_runs_too_long_fails_for_good(
    served: Platform, tenants: list[UUID], kind: str
) -> None:
    job = await served.end_of(tenants[0], kind, {})
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["message"]) == ("run_limit", "the job ran longer than 0:00:04")
    assert await served.attempts(job) == ["failed"]
    # What it told of its progress is kept apart from how it ended.
    assert job.progress == {"percent": 50}
    assert await served.usage() == 0


@pytest.mark.parametrize("kind", ["test.stubborn", "test.stubborn.inline"])
async def test_the_total_limit_ends_a_job_that_runs(
    served: Platform, tenants: list[UUID], tmp_path: Path, kind: str
) -> None:
    job = await served.end_of(
        tenants[0], kind, {"marks": str(tmp_path / "marks")}, total_limit=timedelta(seconds=3)
    )
    assert job.error is not None
    assert (job.error["code"], job.error["attempt"]) == ("total_limit", 1)
    assert await served.attempts(job) == ["failed"]


async def test_the_total_limit_counts_the_waits_between_attempts(
    served: Platform, tenants: list[UUID], tmp_path: Path
) -> None:
    value = {"marks": str(tmp_path / "marks"), "failures": 99, "retry_after_s": 60.0}
    job = await served.end_of(tenants[0], "test.flaky", value, total_limit=timedelta(seconds=3))
    assert job.error is not None
    assert (job.error["code"], job.error["attempt"]) == ("total_limit", 1)
    assert await served.attempts(job) == ["failed"]


@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["test.block.inline", "test.deaf.inline"])
async def test_a_handler_that_cannot_be_stopped_ends_with_its_worker(
    served: Platform, tenants: list[UUID], tmp_path: Path, kind: str
) -> None:
    """Its neighbours get another turn, and no attempt of theirs is spent."""
    marks = tmp_path / "marks"
    job = await served.submit(tenants[0], kind, {"marks": str(marks)}, run_limit=timedelta(seconds=1))
    neighbour = await served.submit(tenants[0], "test.nap", {"seconds": 4.0}, max_attempts=1)
    ended, beside = await served.finished(tenants[0], [job, neighbour])
    assert ended.error is not None
    assert ended.error["code"] == "run_limit"
    assert await served.attempts(ended) == ["failed"]
    assert beside.state == "completed"
    assert await served.attempts(beside) == ["returned", "succeeded"]
    assert await served.usage() == 1
