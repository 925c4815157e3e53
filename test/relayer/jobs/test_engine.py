"""Dispatch, workers and reaping, on real PostgreSQL, Valkey and worker processes."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from eth_hash.backends.pysha3 import keccak256
from pydantic import SecretStr

from relayer.jobs.blob_service import BlobService
from relayer.jobs.dispatcher import LEASE as DISPATCHER
from relayer.jobs.dispatcher import Dispatcher
from relayer.jobs.execution import Execution, Result
from relayer.jobs.failure import Failure
from relayer.jobs.handlers.base import Mode
from relayer.jobs.handlers.registry import Handlers
from relayer.jobs.queue import JobQueue
from relayer.jobs.reaper import LEASE as REAPER
from relayer.jobs.reaper import Reaper
from relayer.jobs.records import Job
from relayer.jobs.service import JobService
from relayer.jobs.submission import Submission
from relayer.jobs.transition import JobOutput
from relayer.model.clock import utc_now
from relayer.model.errors import UnavailableError
from relayer.settings import DispatcherSettings, ReaperSettings, RedisSettings
from relayer.store import leases
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database


@dataclass(frozen=True)
class Platform:
    """The engine of a test: the API's service, the loops, and the settings that its workers get."""

    service: JobService
    db: Database
    queue: JobQueue
    handlers: Handlers
    settings: DispatcherSettings
    environment: dict[str, str]

    async def submit(self, tenant: UUID, kind: str, value: Any, key: str | None = None) -> Job:
        submission = Submission(kind, value, {}, key, bytes(32))
        return (await self.service.submit(tenant, submission)).job

    async def dispatch(self) -> int:
        """Run passes until there is nothing to push."""
        dispatcher, epoch, pushed = self.dispatcher(), await self._lead(DISPATCHER), 0
        while just_pushed := await dispatcher.run_pass(epoch):
            pushed += just_pushed
        return pushed

    def dispatcher(self) -> Dispatcher:
        return Dispatcher(self.db, self.queue, self.handlers, self.settings, utc_now)

    async def reap(self) -> int:
        return await Reaper(self.db, ReaperSettings(), utc_now).run_pass(await self._lead(REAPER))

    async def _lead(self, name: str) -> int:
        async with self.db.transaction() as conn:
            epoch = await leases.acquire(conn, name, "test", timedelta(minutes=1))
        assert epoch is not None
        return epoch

    @contextmanager
    def workers(self, inline: int, isolated: int) -> Iterator[subprocess.Popen[bytes]]:
        counts = {"JOBSEAL_WORKER_INLINE": str(inline), "JOBSEAL_WORKER_ISOLATED": str(isolated)}
        command = [sys.executable, "-m", "relayer.cli.main", "worker"]
        process = subprocess.Popen(command, env=os.environ | self.environment | counts)
        try:
            yield process
            assert process.poll() is None
        finally:
            process.terminate()
            process.wait()

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Turn the loops until something holds."""
        while not await condition():
            await self.dispatch()
            await self.reap()
            await asyncio.sleep(0.05)

    async def finished(self, tenant: UUID, jobs: list[Job]) -> list[Job]:
        """Turn the loops until all of the jobs have come to an end, and give them as they are then."""

        async def all_ended() -> bool:
            return all(job.state not in {"created", "processing"} for job in await self.seen(tenant, jobs))

        await self.until(all_ended)
        return await self.seen(tenant, jobs)

    async def seen(self, tenant: UUID, jobs: list[Job]) -> list[Job]:
        found = [await self.service.get(tenant, job.id) for job in jobs]
        return [job for job in found if job is not None]

    async def output(self, tenant: UUID, job: Job) -> bytes:
        output = await self.service.output(tenant, job.id)
        assert output is not None
        return b"".join([chunk async for chunk in output[2]])


@pytest.fixture
def platform(
    service: JobService,
    handlers: Handlers,
    environment: dict[str, str],
    relayer_db: Database,
    valkey_url: str,
) -> Platform:
    return Platform(
        service,
        relayer_db,
        JobQueue(RedisSettings(url=SecretStr(valkey_url))),
        handlers,
        DispatcherSettings(push_again_after=timedelta(seconds=1), inline_window=20),
        environment,
    )


async def test_digests_agree_with_hashlib(
    platform: Platform, tenants: list[UUID], api_db: Database, blobs: LocalBlobStore
) -> None:
    data = os.urandom(1 << 20) + b"\xff" * 500_000

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    stored = await BlobService(api_db, blobs, utc_now).upload(
        tenants[0], chunks(), "application/octet-stream", None, 1 << 22
    )
    jobs = [await platform.submit(tenants[0], "digest", {"text": f"text {number}"}) for number in range(60)]
    jobs.append(await platform.submit(tenants[0], "digest", {"blob": f"sha256:{stored.hash.hex()}"}))
    with platform.workers(1, 0):
        ended = await platform.finished(tenants[0], jobs)
    assert {job.state for job in ended} == {"completed"}
    for number, job in enumerate(ended):
        expected = data if number == 60 else f"text {number}".encode()
        output = await platform.output(tenants[0], job)
        digest = json.loads(output)
        assert job.output_hash == hashlib.sha256(output).digest()
        assert job.output_size == len(output)
        assert job.output_media_type == "application/json"
        assert digest["sha256"] == hashlib.sha256(expected).hexdigest()
        assert digest["keccak256"] == keccak256(expected).hex()
        assert digest["size"] == len(expected)
        assert digest["media_type"] == ("application/octet-stream" if number == 60 else "text/plain")
    assert sorted(job.ticket for job in ended) == list(range(61))
    # An output is a blob of the tenant: a job can name it.
    assert ended[0].output_hash is not None
    await platform.submit(tenants[0], "digest", {"blob": f"sha256:{ended[0].output_hash.hex()}"})


async def test_a_flood_does_not_hold_up_another_tenant(
    platform: Platform, tenants: list[UUID], owner_db: Database
) -> None:
    for number in range(60):
        await platform.submit(tenants[0], "digest", {"text": str(number)})
    late = await platform.submit(tenants[1], "digest", {"text": "late"})
    assert await platform.dispatch() == 20
    assert await platform.dispatch() == 0
    async with owner_db.transaction() as conn:
        cursor = await conn.execute("SELECT job_id FROM attempts ORDER BY id LIMIT 2")
        assert (late.id,) in await cursor.fetchall()


async def test_a_tenant_holds_no_more_than_its_cap(
    platform: Platform, tenants: list[UUID], owner_db: Database
) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET running_cap = 3")
    for number in range(10):
        await platform.submit(tenants[0], "digest", {"text": str(number)})
    assert await platform.dispatch() == 3
    assert await platform.dispatch() == 0


async def test_jobs_finish_after_the_queue_was_wiped(
    platform: Platform, tenants: list[UUID], valkey_url: str
) -> None:
    jobs = [await platform.submit(tenants[0], "digest", {"text": str(number)}) for number in range(30)]
    await platform.dispatch()
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    assert await platform.queue.waiting(Mode.INLINE) == set()
    with platform.workers(1, 0):
        ended = await platform.finished(tenants[0], jobs)
    assert {job.state for job in ended} == {"completed"}


async def test_an_unreachable_queue_loses_nothing(platform: Platform, tenants: list[UUID]) -> None:
    job = await platform.submit(tenants[0], "digest", {"text": "a"})
    away = JobQueue(RedisSettings(url=SecretStr("redis://:secret@127.0.0.1:9/0")))
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9 ") as caught:
        await Platform(**vars(platform) | {"queue": away}).dispatch()
    assert "secret" not in str(caught.value)
    with platform.workers(1, 0):
        assert (await platform.finished(tenants[0], [job]))[0].state == "completed"


async def test_work_of_a_killed_worker_is_done_again_once(
    platform: Platform, tenants: list[UUID], owner_db: Database, tmp_path: Path
) -> None:
    marks = [tmp_path / kind for kind in ("test.nap", "test.sleep")]
    jobs = [
        await platform.submit(tenants[0], mark.name, {"seconds": 600.0, "marks": str(mark)}) for mark in marks
    ]

    async def both_started() -> bool:
        return all(mark.exists() and mark.read_text() for mark in marks)

    with platform.workers(1, 1):
        await platform.until(both_started)
        async with owner_db.transaction() as conn:
            cursor = await conn.execute("SELECT worker FROM attempts WHERE state = 'running'")
            workers = [int(row[0].rpartition("/")[2]) for row in await cursor.fetchall()]
        assert len(workers) == 2
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        ended = await platform.finished(tenants[0], jobs)
    assert [job.state for job in ended] == ["completed", "completed"]
    assert [mark.read_text() for mark in marks] == ["started\n" * 2] * 2
    async with owner_db.transaction() as conn:
        cursor = await conn.execute("SELECT state, count(*) FROM attempts GROUP BY state ORDER BY state")
        assert await cursor.fetchall() == [("lost", 2), ("succeeded", 2)]
        cursor = await conn.execute("SELECT count(*) FROM usage_events")
        assert await cursor.fetchone() == (2,)


async def test_a_stale_token_writes_nothing(
    platform: Platform, tenants: list[UUID], owner_db: Database, relayer_db: Database
) -> None:
    job = await platform.submit(tenants[0], "digest", {"text": "a"})
    await platform.dispatch()
    async with owner_db.transaction() as conn:
        cursor = await conn.execute("SELECT id FROM attempts")
        ids = [row[0] for row in await cursor.fetchall()]
    slow = Execution(relayer_db, "slow", timedelta(0), utc_now)
    (attempt,) = await slow.open(ids)
    assert await slow.open(ids) == []
    await asyncio.sleep(0.01)
    assert await platform.reap() == 1
    assert await slow.finish([Result(attempt, JobOutput(bytes(32), 1, "text/plain"))]) == set()
    assert await slow.finish([Result(attempt, Failure("late", "too late", retryable=False))]) == set()
    (seen,) = await platform.seen(tenants[0], [job])
    assert (seen.state, seen.status_reason, seen.output_hash) == ("created", "no_worker", None)
    async with owner_db.transaction() as conn:
        assert await (await conn.execute("SELECT count(*) FROM blobs")).fetchone() == (0,)


async def test_a_job_that_kills_its_workers_fails_in_the_end(
    platform: Platform, tenants: list[UUID], owner_db: Database, relayer_db: Database
) -> None:
    job = await platform.submit(tenants[0], "digest", {"text": "a"})
    doomed = Execution(relayer_db, "doomed", timedelta(0), utc_now)
    for _ in range(3):
        assert await platform.dispatch() == 1
        async with owner_db.transaction() as conn:
            cursor = await conn.execute("SELECT id FROM attempts WHERE state = 'dispatched'")
            ids = [row[0] for row in await cursor.fetchall()]
        assert len(await doomed.open(ids)) == 1
        await asyncio.sleep(0.01)
        await platform.reap()
    (seen,) = await platform.seen(tenants[0], [job])
    assert seen.state == "failed"
    assert seen.error is not None
    assert seen.error["code"] == "worker_lost"


async def test_isolated_jobs_succeed_fail_and_crash(
    platform: Platform, tenants: list[UUID], owner_db: Database
) -> None:
    succeeds, fails, rejects, shows, crashes = jobs = [
        await platform.submit(tenants[0], "test.sleep", {"seconds": 0.01}),
        await platform.submit(tenants[0], "test.fail", {}),
        await platform.submit(tenants[0], "test.reject", {}),
        await platform.submit(tenants[0], "test.environment", {}),
        await platform.submit(tenants[0], "test.crash", {}),
    ]
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE jobs SET max_attempts = 1 WHERE id = %s", [crashes.id])
    with platform.workers(0, 1):
        ended = {job.id: job for job in await platform.finished(tenants[0], jobs)}
    assert await platform.output(tenants[0], ended[succeeds.id]) == b'{"slept":0.01}'
    assert ended[fails.id].state == "failed"
    assert ended[fails.id].error == {
        "code": "out_of_luck",
        "message": "it was not to be",
        "retryable": False,
        "attempt": 1,
    }
    assert ended[rejects.id].state == "rejected"
    names = json.loads(await platform.output(tenants[0], ended[shows.id]))
    assert not [name for name in names if name.startswith("JOBSEAL")]
    error = ended[crashes.id].error
    assert error is not None
    assert (error["code"], error["message"]) == (
        "handler_crashed",
        "the handler's process was ended by SIGKILL",
    )
    async with owner_db.transaction() as conn:
        cursor = await conn.execute("SELECT log_tail FROM attempts WHERE job_id = %s", [crashes.id])
        assert await cursor.fetchone() == ("last words\n",)
        cursor = await conn.execute("SELECT count(*) FROM usage_events")
        assert await cursor.fetchone() == (2,)


async def test_a_retryable_failure_waits_for_another_turn(platform: Platform, tenants: list[UUID]) -> None:
    job = await platform.submit(tenants[0], "test.fail", {"retryable": True})

    async def tried() -> bool:
        (seen,) = await platform.seen(tenants[0], [job])
        return seen.status_reason == "retry"

    with platform.workers(0, 1):
        await platform.until(tried)
    (seen,) = await platform.seen(tenants[0], [job])
    assert seen.state == "created"
    assert seen.run_at - utc_now() > timedelta(seconds=-5)
    assert seen.run_at - seen.created_at >= timedelta(seconds=2)
    assert seen.error is not None
    assert seen.error["code"] == "out_of_luck"
