"""Idempotency keys whose time is over."""

from datetime import timedelta
from uuid import UUID

import pytest

from relayer.jobs import key_collector
from relayer.jobs.blob_collector import LEASE
from relayer.jobs.key_collector import KeyCollector
from relayer.model.clock import utc_now
from relayer.store import leases
from relayer.store.database import Database

DAY = timedelta(days=1)


async def lead(db: Database) -> int:
    async with db.transaction() as conn:
        epoch = await leases.acquire(conn, LEASE, "test", timedelta(minutes=1))
    assert epoch is not None
    return epoch


async def add_keys(db: Database, tenant: UUID, name: str, count: int, expires_in: timedelta) -> None:
    async with db.transaction() as conn:
        await conn.execute(
            """INSERT INTO idempotency_keys (tenant_id, route, key, fingerprint, created_at, expires_at)
               SELECT %s, 'test', %s || n, sha256(''), now(), now() + %s FROM generate_series(1, %s) AS n""",
            [tenant, name, expires_in, count],
        )


async def keys(db: Database) -> list[str]:
    async with db.transaction() as conn:
        cursor = await conn.execute("SELECT key FROM idempotency_keys ORDER BY key")
        return [row[0] for row in await cursor.fetchall()]


async def test_expired_keys_are_deleted_page_by_page_and_others_stay(
    owner_db: Database, relayer_db: Database, tenants: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_collector, "_PAGE", 2)
    monkeypatch.setattr(key_collector, "_PAGES", 2)
    for tenant in tenants:
        await add_keys(owner_db, tenant, "old", 3, -DAY)
        await add_keys(owner_db, tenant, "just over", 1, -timedelta(seconds=1))
        await add_keys(owner_db, tenant, "good", 1, DAY)
    collector = KeyCollector(relayer_db, utc_now)
    assert await collector.run_pass(await lead(relayer_db)) == 4
    assert await collector.run_pass(await lead(relayer_db)) == 0
    assert await keys(owner_db) == ["good1", "good1", "just over1", "just over1"]


async def test_a_key_that_a_request_holds_is_not_waited_for(
    owner_db: Database, relayer_db: Database, tenants: list[UUID]
) -> None:
    await add_keys(owner_db, tenants[0], "k", 2, -DAY)
    async with owner_db.transaction() as conn:
        await conn.execute(
            "UPDATE idempotency_keys SET expires_at = now() + interval '1 day' WHERE key = 'k1'"
        )
        await KeyCollector(relayer_db, utc_now).run_pass(await lead(relayer_db))
    assert await keys(owner_db) == ["k1"]


async def test_nothing_is_deleted_without_the_lease(
    owner_db: Database, relayer_db: Database, tenants: list[UUID]
) -> None:
    await add_keys(owner_db, tenants[0], "k", 1, -DAY)
    with pytest.raises(leases.LeaseLostError):
        await KeyCollector(relayer_db, utc_now).run_pass(await lead(relayer_db) + 1)
    assert await keys(owner_db) == ["k1"]
