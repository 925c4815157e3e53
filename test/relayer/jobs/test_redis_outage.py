"""Redis may be emptied, or be away, at any moment: jobs come later, and none is lost or done twice."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import redis
from pydantic import SecretStr
from support import Platform, has_line

from relayer.jobs.queue import JobQueue
from relayer.jobs.records import Job
from relayer.local.valkey import EmbeddedValkey
from relayer.settings import DispatcherSettings, RedisSettings

JOBS = 40
# What is promised after an absence; most of it is the wait before a push counts as lost.
RECOVERY_S = 10


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server of this test alone."""
    with EmbeddedValkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def apart(platform: Platform, valkey: EmbeddedValkey) -> Platform:
    return replace(
        platform,
        queue=JobQueue(RedisSettings(url=SecretStr(valkey.url))),
        environment={**platform.environment, "JOBSEAL_REDIS_URL": valkey.url},
        settings=DispatcherSettings(push_again_after=timedelta(seconds=1), inline_window=8),
    )


async def submit_load(platform: Platform, tenant: UUID, folder: Path) -> list[Job]:
    """Submit short jobs of both modes, each of which notes in a file of its own that it ran."""
    return [
        await platform.submit(
            tenant,
            "test.sleep" if number % 20 == 0 else "test.nap",
            {"seconds": 0.2, "marks": str(folder / f"{number}.marks")},
        )
        for number in range(JOBS)
    ]


async def each_ran_once(platform: Platform, tenant: UUID, jobs: list[Job], folder: Path) -> None:
    ended = await platform.finished(tenant, jobs)
    assert {job.state for job in ended} == {"completed"}
    assert [path.read_text() for path in folder.glob("*.marks")] == ["started\n"] * JOBS
    assert await platform.rows("SELECT state, count(*) FROM attempts GROUP BY state") == [
        ("succeeded", len(jobs))
    ]
    assert await platform.usage() == len(jobs)


@pytest.mark.campaign
async def test_the_queue_is_wiped_again_and_again(
    apart: Platform, valkey: EmbeddedValkey, tenants: list[UUID], tmp_path: Path
) -> None:
    jobs = await submit_load(apart, tenants[0], tmp_path)

    async def wipe() -> None:
        with redis.Redis.from_url(valkey.url) as client:
            for _ in range(15):
                client.flushall()
                await asyncio.sleep(0.2)

    with apart.workers(1, 1):
        await asyncio.gather(wipe(), each_ran_once(apart, tenants[0], jobs, tmp_path))


async def test_the_queue_is_away_for_a_while(
    apart: Platform, valkey: EmbeddedValkey, tenants: list[UUID], tmp_path: Path
) -> None:
    """A long job that runs meanwhile goes on: its worker looks after it at least once while Redis is away."""
    long = tmp_path / "long"
    running = await apart.submit(tenants[0], "test.sleep", {"seconds": 6.0, "marks": str(long)})

    async def started() -> bool:
        return has_line(long, "started")

    with apart.workers(1, 2):
        await apart.until(started)
        jobs = await submit_load(apart, tenants[0], tmp_path)
        await apart.turn()
        await asyncio.sleep(0.3)
        valkey.stop()
        for _ in range(30):
            await apart.turn()
            await asyncio.sleep(0.1)
        valkey.start()
        await apart.finished(tenants[0], jobs)
        (ended,) = await apart.finished(tenants[0], [running])
    assert ended.state == "completed"
    assert long.read_text() == "started\n"
    assert await apart.attempts(running) == ["succeeded"]
    await each_ran_once(apart, tenants[0], [*jobs, running], tmp_path)


@pytest.mark.campaign
async def test_work_goes_on_within_ten_seconds_of_the_return(
    apart: Platform, valkey: EmbeddedValkey, tenants: list[UUID], tmp_path: Path
) -> None:
    """At the platform's own settings and pace, after half a minute."""

    async def done(jobs: list[Job]) -> None:
        states = {"created"}
        while states != {"completed"}:
            await asyncio.sleep(0.1)
            states = {job.state for job in await apart.seen(tenants[0], jobs)}

    with apart.workers(1, 1), apart.relayer():
        first = [await apart.submit(tenants[0], "test.nap", {"seconds": 0.0})]
        await done(first)
        valkey.stop()
        jobs = await submit_load(apart, tenants[0], tmp_path)
        await asyncio.sleep(30)
        valkey.start()
        async with asyncio.timeout(RECOVERY_S):
            await done(jobs)
    await each_ran_once(apart, tenants[0], [*first, *jobs], tmp_path)


@pytest.mark.campaign
async def test_the_queue_is_away_when_the_workers_stop(
    apart: Platform, valkey: EmbeddedValkey, tenants: list[UUID], tmp_path: Path
) -> None:
    """They hand back what they have, and need Redis for nothing."""
    marks = {kind: tmp_path / kind for kind in ("test.nap", "test.sleep")}
    jobs = [
        await apart.submit(tenants[0], kind, {"seconds": 600.0, "marks": str(path)})
        for kind, path in marks.items()
    ]

    async def started() -> bool:
        return all(has_line(path, "started") for path in marks.values())

    with apart.workers(1, 1) as pool:
        await apart.until(started)
        valkey.stop()
        pool.terminate()
        assert pool.wait(50) == 0
    assert [await apart.attempts(job) for job in jobs] == [["returned"]] * 2
