"""The SQL of quotas: what tenants used of a period, and what they may."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

JOBS = "jobs"
COMPUTE = "compute_seconds"
STORAGE = "storage_bytes"

COUNT_INTO = (
    "ON CONFLICT (period, meter, tenant_id, shard) DO UPDATE SET quantity = c.quantity + excluded.quantity"
)
"""Ends an `INSERT INTO usage_counters AS c`, whose rows come in the order of their tenants."""

SHARD = "pg_backend_pid() & 15"

# To be used beside a CTE `ended` of attempts that came to an end. What the platform cut short costs the tenant nothing.
METERED = f"""
spent AS (
    SELECT id, tenant_id, job_id, extract(epoch FROM greatest(interval '0', %(at)s - started_at)) AS seconds
    FROM ended WHERE state IN ('succeeded', 'failed', 'cancelled') AND started_at IS NOT NULL
), metered AS (
    INSERT INTO usage_events (tenant_id, source, id, meter, quantity, job_id, occurred_at)
    SELECT tenant_id, 'engine', id || ':{COMPUTE}', '{COMPUTE}', seconds, job_id, %(at)s FROM spent
    ON CONFLICT (tenant_id, source, id) DO NOTHING
), counted AS (
    INSERT INTO usage_counters AS c (period, meter, tenant_id, shard, quantity)
    SELECT date_trunc('month', %(at)s::timestamptz AT TIME ZONE 'UTC'), '{COMPUTE}', tenant_id, {SHARD}, sum(seconds)
    FROM spent GROUP BY tenant_id ORDER BY tenant_id
    {COUNT_INTO}
)
"""  # noqa: S608  # constants only

_USED = """
coalesce((SELECT sum(c.quantity) FROM usage_counters c
          WHERE c.period = %({period})s AND c.meter = '{meter}' AND c.tenant_id = t.id), 0)
"""
_JOBS_USED = _USED.format(period="day", meter=JOBS)
_COMPUTE_USED = _USED.format(period="month", meter=COMPUTE)
_COMPUTE_CAP = "extract(epoch FROM t.compute_per_month)"


@dataclass(frozen=True)
class Used:
    """What a tenant used of its day and its month, and may use; compute in seconds.

    `reach`: how far the quota has to be for a remembered count to tell. A count is a second old at most and misses what
    is not committed, so two processes may each miss what the other let in during two seconds before and two after: no
    more than the burst and four seconds of the rate, here twice, for commits that are slow. A batch beyond the burst
    needs no reach: it is counted itself by whoever lets it in, and nothing else fits beside it.
    """

    jobs: Decimal
    jobs_cap: int
    compute: Decimal
    compute_cap: Decimal
    reach: int


@dataclass(frozen=True)
class Standing:
    """What a tenant used of its quotas, and has at this moment; storage in bytes, compute in seconds."""

    plan: str
    jobs: Decimal
    jobs_cap: int
    compute: Decimal
    compute_cap: Decimal
    storage: int
    storage_cap: int
    running: int
    running_cap: int
    waiting: int
    waiting_cap: int


async def used(conn: AsyncConnection[TupleRow], tenant: UUID, day: date, month: date) -> Used:
    """Give what a tenant used of its quotas."""
    async with conn.cursor(row_factory=class_row(Used)) as cursor:
        await cursor.execute(
            f"""SELECT {_JOBS_USED} AS jobs, t.jobs_per_day AS jobs_cap, {_COMPUTE_USED} AS compute,
                       {_COMPUTE_CAP} AS compute_cap,
                       2 * (t.submissions_burst + t.submissions_per_minute::bigint / 15) AS reach
                FROM tenants t WHERE t.id = %(tenant)s""",  # noqa: S608  # constants only
            {"tenant": tenant, "day": day, "month": month},
        )
        found = await cursor.fetchone()
        assert found is not None
        return found


async def used_exactly(conn: AsyncConnection[TupleRow], tenant: UUID, day: date, month: date) -> Used:
    """Give the same, and keep every other process from letting in more of this tenant until this transaction ends.

    Whoever asks for several tenants asks in the order of their ids.
    """
    async with conn.pipeline():
        await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('quota:' || %s, 0))", [str(tenant)])
        # A statement of its own, which sees what those committed who had the lock before.
        return await used(conn, tenant, day, month)


async def standing(conn: AsyncConnection[TupleRow], tenant: UUID, day: date, month: date) -> Standing:
    """Give where a tenant stands; waiting jobs are counted no further than to their cap."""
    async with conn.cursor(row_factory=class_row(Standing)) as cursor:
        await cursor.execute(
            f"""SELECT {_JOBS_USED} AS jobs, t.jobs_per_day AS jobs_cap, {_COMPUTE_USED} AS compute,
                       {_COMPUTE_CAP} AS compute_cap, t.plan,
                       coalesce((SELECT bytes FROM tenant_storage s WHERE s.tenant_id = t.id), 0) AS storage,
                       t.storage_cap,
                       (SELECT count(*) FROM attempts a
                        WHERE a.tenant_id = t.id AND a.state IN ('dispatched', 'running')) AS running,
                       t.running_cap,
                       (SELECT count(*) FROM (SELECT FROM jobs j WHERE j.tenant_id = t.id AND j.state = 'created'
                                              LIMIT t.waiting_cap) w) AS waiting,
                       t.waiting_cap
                FROM tenants t WHERE t.id = %(tenant)s""",  # noqa: S608  # constants only
            {"tenant": tenant, "day": day, "month": month},
        )
        found = await cursor.fetchone()
        assert found is not None
        return found


async def forget_periods(conn: AsyncConnection[TupleRow], before: date, limit: int) -> int:
    """Delete counters and notices of periods that began before a day, up to a limit of each; give how many."""
    counters = await conn.execute(
        """DELETE FROM usage_counters WHERE (period, meter, tenant_id, shard) IN
           (SELECT period, meter, tenant_id, shard FROM usage_counters WHERE period < %s ORDER BY period LIMIT %s)""",
        [before, limit],
    )
    notices = await conn.execute(
        """DELETE FROM quota_notices WHERE (tenant_id, meter, period, threshold) IN
           (SELECT tenant_id, meter, period, threshold FROM quota_notices WHERE period < %s ORDER BY period LIMIT %s)""",
        [before, limit],
    )
    return counters.rowcount + notices.rowcount


# A threshold was passed once a period, whoever looks and however often: the row of the notice is the memory of it.
_TELL = f"""
WITH reached AS (
    SELECT c.tenant_id, c.meter, c.period, sum(c.quantity) AS used,
           CASE c.meter WHEN '{JOBS}' THEN t.jobs_per_day ELSE {_COMPUTE_CAP} END AS cap
    FROM usage_counters c JOIN tenants t ON t.id = c.tenant_id
    WHERE (c.meter = '{JOBS}' AND c.period = ANY(%(days)s)) OR (c.meter = '{COMPUTE}' AND c.period = ANY(%(months)s))
    GROUP BY c.tenant_id, c.meter, c.period, t.jobs_per_day, t.compute_per_month
    UNION ALL
    SELECT s.tenant_id, '{STORAGE}', (%(months)s::date[])[1], s.bytes, t.storage_cap
    FROM tenant_storage s JOIN tenants t ON t.id = s.tenant_id WHERE s.bytes > 0
), passed AS (
    INSERT INTO quota_notices (tenant_id, meter, period, threshold, told_at)
    SELECT r.tenant_id, r.meter, r.period, t.threshold, %(at)s
    FROM reached r CROSS JOIN (VALUES (80), (100)) AS t (threshold)
    WHERE r.used * 100 >= r.cap * t.threshold
    ORDER BY r.tenant_id, r.meter, r.period, t.threshold
    ON CONFLICT DO NOTHING
    RETURNING tenant_id, meter, period, threshold
)
INSERT INTO outbox (tenant_id, topic, payload, created_at)
SELECT p.tenant_id, 'quota.threshold',
       jsonb_build_object('meter', p.meter, 'period', p.period, 'threshold_percent', p.threshold, 'used', r.used,
                          'limit', r.cap), %(at)s
FROM passed p JOIN reached r USING (tenant_id, meter, period) ORDER BY p.tenant_id, p.meter, p.period, p.threshold
"""  # noqa: S608  # constants only


async def tell_thresholds(
    conn: AsyncConnection[TupleRow], days: Sequence[date], months: Sequence[date], at: datetime
) -> int:
    """Write the news of thresholds that were passed in these periods, the present month first; give how many."""
    cursor = await conn.execute(_TELL, {"days": list(days), "months": list(months), "at": at})
    return cursor.rowcount


def day_of(at: datetime) -> date:
    """Give the UTC day of a time."""
    return at.date()


def month_of(at: datetime) -> date:
    """Give the first day of the UTC month of a time."""
    return at.date().replace(day=1)


def month_after(month: date) -> date:
    """Give the first day of the month after."""
    return (month + timedelta(days=32)).replace(day=1)
