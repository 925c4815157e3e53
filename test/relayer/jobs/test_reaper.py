"""What the reaper locks and what it reads."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from support import Platform, pages_of

from relayer.jobs import attempt_repository
from relayer.jobs.execution import Execution
from relayer.model.clock import utc_now
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database
from relayer.store.registries import RegistryRow


async def test_nobody_who_locks_attempts_before_jobs_gets_into_a_deadlock(
    platform: Platform, tenants: list[UUID], relayer_db: Database, blobs: LocalBlobStore
) -> None:
    """One job lost its worker, another waited too long; whoever holds an attempt of this one goes on to that one."""
    lost = await platform.submit(tenants[0], "digest", {"text": "a"})
    await platform.dispatch()
    rows = await platform.rows("SELECT id FROM attempts")
    await Execution(relayer_db, "doomed", timedelta(0), utc_now, blobs).open([row[0] for row in rows])
    limit = timedelta(milliseconds=1)
    late = await platform.submit(tenants[0], "digest", {"text": "b"}, queue_limit=timedelta(seconds=30))
    await platform.dispatch()
    async with relayer_db.transaction() as conn:
        await conn.execute("UPDATE jobs SET expires_at = run_at + %s WHERE id = %s", [limit, late.id])
    async with relayer_db.transaction() as conn:
        await conn.execute("SELECT FROM attempts WHERE job_id = %s FOR UPDATE", [late.id])
        reaping = asyncio.create_task(platform.reap())
        while not await platform.rows("SELECT FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
        await conn.execute("SELECT FROM jobs WHERE id = %s FOR UPDATE", [lost.id])
    assert await reaping == 2
    seen = await platform.seen(tenants[0], [lost, late])
    assert [job.state for job in seen] == ["created", "failed"]


async def test_a_look_for_expired_jobs_costs_the_same_for_twenty_five_times_as_many(
    owner_db: Database, urls: Any, registry_row: RegistryRow, tenants: list[UUID]
) -> None:
    async def pages(jobs: int) -> int:
        async with owner_db.transaction() as conn:
            await conn.execute("TRUNCATE jobs CASCADE")
            await conn.execute(
                """INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, status_reason, input, input_hash,
                                     metadata, salt, max_attempts, run_at, created_at, expires_at, finished_at)
                   SELECT lpad(to_hex(n), 32, '0')::uuid, %(tenant)s, %(registry)s, n, 'digest', s.state, 'queued',
                          '{}', sha256(''), '{}', sha256(''), 3, now(), now(), now() - n * interval '1 ms', s.at
                   FROM generate_series(1, %(jobs)s * 2) AS n, LATERAL (
                       SELECT CASE WHEN n <= %(jobs)s THEN 'cancelled' ELSE 'created' END,
                              CASE WHEN n <= %(jobs)s THEN now() END) AS s (state, at)""",
                {"tenant": tenants[0], "registry": registry_row.id, "jobs": jobs},
            )
        async with await AsyncConnection.connect(urls.owner, autocommit=True) as conn:
            await conn.execute("VACUUM ANALYZE jobs")
            return await pages_of(conn, attempt_repository._EXPIRED, {"at": utc_now(), "limit": 20})

    few, many = await pages(1_000), await pages(25_000)
    assert many <= 2 * few + 20, (few, many)
