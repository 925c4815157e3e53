"""Counters of quotas whose time is over."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from relayer.jobs import counter_collector
from relayer.jobs.blob_collector import LEASE
from relayer.jobs.counter_collector import CounterCollector
from relayer.jobs.quota_repository import month_of
from relayer.store import leases
from relayer.store.database import Database

# The last moment at which thresholds of July are told, of the longest pair of months.
NOW = datetime(2030, 8, 31, 23, 59, 59, tzinfo=UTC)
TODAY, OLD = NOW.date(), date(2030, 6, 21)


async def lead(db: Database) -> int:
    async with db.transaction() as conn:
        epoch = await leases.acquire(conn, LEASE, "test", timedelta(minutes=1))
    assert epoch is not None
    return epoch


async def count(db: Database, tenants: list[UUID], *days: date) -> None:
    async with db.transaction() as conn:
        for tenant in tenants:
            for day in days:
                await conn.execute(
                    """INSERT INTO usage_counters (period, meter, tenant_id, shard, quantity)
                       SELECT %s, meter, %s, shard, 1 FROM unnest(ARRAY['jobs', 'compute_seconds']) AS meter,
                                                           generate_series(0, 1) AS shard""",
                    [day, tenant],
                )
                await conn.execute(
                    "INSERT INTO quota_notices VALUES (%s, 'jobs', %s, 80, %s)", [tenant, day, NOW]
                )


async def periods(db: Database) -> tuple[set[date], set[date]]:
    async with db.transaction() as conn:
        counters = await (await conn.execute("SELECT period FROM usage_counters")).fetchall()
        notices = await (await conn.execute("SELECT period FROM quota_notices")).fetchall()
    return {row[0] for row in counters}, {row[0] for row in notices}


async def test_old_periods_are_deleted_page_by_page_and_others_stay(
    owner_db: Database, relayer_db: Database, tenants: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counter_collector, "_PAGE", 5)
    last_month = month_of(NOW - timedelta(days=31))
    kept = {TODAY, TODAY - timedelta(days=1), last_month, date(2030, 6, 22)}
    await count(owner_db, tenants, OLD, OLD - timedelta(days=400), *kept)
    collector = CounterCollector(relayer_db, lambda: NOW)
    epoch = await lead(relayer_db)
    passes = 0
    while await collector.run_pass(epoch):
        passes += 1
    assert passes > 1
    assert await periods(owner_db) == (kept, kept)


async def test_nothing_is_deleted_without_the_lease(
    owner_db: Database, relayer_db: Database, tenants: list[UUID]
) -> None:
    await count(owner_db, tenants, OLD)
    with pytest.raises(leases.LeaseLostError):
        await CounterCollector(relayer_db, lambda: NOW).run_pass(await lead(relayer_db) + 1)
    assert await periods(owner_db) == ({OLD}, {OLD})
