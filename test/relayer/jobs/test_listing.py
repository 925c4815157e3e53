"""What the lists of jobs read."""

from typing import Any
from uuid import UUID

import pytest
from psycopg import AsyncConnection
from support import pages_of

from relayer.jobs import repository
from relayer.store.database import Database
from relayer.store.registries import RegistryRow


@pytest.mark.parametrize("filters", [{"state": "rejected"}, {"state": "rejected", "kind": "rare"}])
async def test_a_list_of_few_jobs_does_not_read_a_long_history(
    owner_db: Database, urls: Any, registry_row: RegistryRow, tenants: list[UUID], filters: dict[str, str]
) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute(
            """INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, status_reason, input, input_hash,
                                 metadata, salt, max_attempts, run_at, created_at, finished_at, error)
               SELECT lpad(to_hex(n), 32, '0')::uuid, %s, %s, n, CASE WHEN n = 1 THEN 'rare' ELSE 'digest' END,
                      CASE WHEN n <= 10 THEN 'rejected' ELSE 'cancelled' END, NULL, '{}', sha256(''), '{}', sha256(''),
                      3, now(), now(), now(), '{}'
               FROM generate_series(1, 50000) AS n""",
            [tenants[0], registry_row.id],
        )
    async with await AsyncConnection.connect(urls.owner, autocommit=True) as conn:
        await conn.execute("VACUUM ANALYZE jobs")
        values = {"tenant": tenants[0], "limit": 20} | filters
        assert await pages_of(conn, repository.listing(values), values) < 100
