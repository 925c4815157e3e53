"""What the lists of jobs read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from support import pages_of

from relayer.jobs.listing_repository import JobFilter, listing
from relayer.model.ids import first_id
from relayer.model.lifecycle import JobState
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

NEWEST = datetime(2030, 1, 1, tzinfo=UTC)


async def test_a_list_of_few_jobs_does_not_read_a_long_history(
    owner_db: Database, urls: Any, registry_row: RegistryRow, tenants: list[UUID]
) -> None:
    async with owner_db.transaction() as conn:
        # One an hour, with the metadata that most have, and for ten of them one of their own.
        await conn.execute(
            """INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, status_reason, input, input_hash,
                                 metadata, salt, max_attempts, run_at, created_at, finished_at, error)
               SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || lpad(to_hex(n), 20, '0'))::uuid,
                      %s, %s, n, CASE WHEN n = 1 THEN 'rare' ELSE 'digest' END,
                      CASE WHEN n <= 10 THEN 'rejected' ELSE 'cancelled' END, NULL, '{}', sha256(''),
                      CASE WHEN n <= 10 THEN '{"env": "prod", "order": "17"}'::jsonb ELSE '{"env": "prod"}' END,
                      sha256(''), 3, at, at, at, '{}'
               FROM generate_series(1, 20000) AS n, LATERAL (SELECT %s - (20000 - n) * interval '1 hour' AS at) t""",
            [tenants[0], registry_row.id, NEWEST],
        )
    mine = JobFilter(tenants[0])
    oldest = NEWEST - timedelta(hours=19_999)
    order, env = {"order": "17"}, {"env": "prod"}
    cases = [
        replace(mine, state=JobState.REJECTED),
        replace(mine, state=JobState.REJECTED, kind="rare"),
        replace(mine, created_before=oldest + timedelta(hours=10)),
        replace(mine, created_after=oldest, created_before=oldest + timedelta(hours=10)),
        replace(mine, metadata=order),
        replace(mine, metadata=env),
        replace(mine, metadata=env | order),
        replace(mine, metadata=order, state=JobState.REJECTED, created_before=oldest + timedelta(days=1)),
    ]
    async with await AsyncConnection.connect(urls.owner, autocommit=True) as conn:
        await conn.execute("VACUUM ANALYZE jobs, job_metadata")
        for wanted in cases:
            for before in (None, first_id(NEWEST)):
                query, values = listing(wanted, before, 20)
                assert await pages_of(conn, query, values) < 250, wanted
                cursor = await conn.execute(query, values)
                assert len(await cursor.fetchall()) == (
                    20 if wanted.metadata == env else 1 if wanted.kind else 10
                )
