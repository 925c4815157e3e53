"""Dispatch, workers and reaping, on real PostgreSQL, Valkey and worker processes."""

import hashlib
import json
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
import redis
from eth_hash.backends.pysha3 import keccak256
from pydantic import SecretStr
from support import Platform

from relayer.jobs.blob_service import BlobService
from relayer.jobs.handlers.base import Mode
from relayer.jobs.queue import JobQueue
from relayer.model.clock import utc_now
from relayer.model.errors import UnavailableError
from relayer.settings import RedisSettings
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database


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
        cursor = await conn.execute("SELECT count(*) FROM usage_events WHERE meter = 'job_completed'")
        assert await cursor.fetchone() == (2,)


async def test_a_job_that_was_dispatched_is_cancelled_before_it_runs(
    platform: Platform, tenants: list[UUID]
) -> None:
    job = await platform.submit(tenants[0], "digest", {"text": "a"})
    await platform.dispatch()
    await platform.service.cancel(tenants[0], job.id)
    (ended,) = await platform.finished(tenants[0], [job])
    assert ended.state == "cancelled"
    assert await platform.attempts(job) == ["cancelled"]
    with platform.workers(1, 0):
        # What the queue still holds of it opens nothing.
        assert (await platform.end_of(tenants[0], "digest", {"text": "b"})).state == "completed"
    assert await platform.attempts(job) == ["cancelled"]
    assert await platform.usage() == 1


async def test_a_job_may_wait_only_so_long(platform: Platform, tenants: list[UUID]) -> None:
    queue = await platform.submit(
        tenants[0], "test.nap", {"seconds": 0.0}, queue_limit=timedelta(seconds=0.3)
    )
    total = await platform.submit(
        tenants[0], "test.nap", {"seconds": 0.0}, total_limit=timedelta(seconds=0.3)
    )
    patient = await platform.submit(tenants[0], "test.nap", {"seconds": 0.0}, queue_limit=timedelta(hours=1))
    await platform.dispatch()
    ended = await platform.finished(tenants[0], [queue, total])
    codes = [job.error and job.error["code"] for job in ended]
    assert codes == ["queue_limit", "total_limit"]
    assert [await platform.attempts(job) for job in (queue, total, patient)] == [
        ["cancelled"],
        ["cancelled"],
        ["dispatched"],
    ]
