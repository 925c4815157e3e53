"""The SQL of jobs as tenants see them: reading, cancelling."""

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.jobs.records import Attempt, Job, JobEvent, job_row
from relayer.store.database import act_for

COLUMNS = """
j.id, j.tenant_id, j.registry_id, j.ticket, j.kind, j.priority, j.state, j.state_version, j.input, j.input_hash,
j.metadata, j.salt, j.max_attempts, j.first_backoff, j.longest_backoff, j.retry_codes, j.queue_limit, j.run_limit,
j.total_limit, j.run_at, j.output_hash, j.output_size, j.output_media_type, j.error, j.batch_id, j.rerun_of,
j.created_at, j.cancel_requested_at, j.result_ready_at, j.confirmed_at, j.finished_at, j.revoked_at
"""

# Why a job waits is partly known by its queue only, and partly by the time. What was metered is what ended attempts
# ran, but for those that were lost.
_SHOWN = f"""
{COLUMNS}, CASE
    WHEN j.state <> 'created' THEN j.status_reason
    WHEN j.run_at > now() THEN CASE j.status_reason WHEN 'queued' THEN 'scheduled' ELSE j.status_reason END
    ELSE coalesce((SELECT q.held_by FROM active_queues q WHERE q.tenant_id = j.tenant_id AND q.kind = j.kind
                                                           AND q.priority = j.priority), j.status_reason)
    END AS status_reason,
    coalesce(a.number, 0) AS attempt, a.progress, a.started_at, coalesce(a.compute, interval '0') AS compute,
    b.state AS batch_state, b.root AS batch_root, b.transaction_hash, b.block_number
"""  # noqa: S608  # constants only
_FROM = """
FROM jobs j
LEFT JOIN LATERAL (
    SELECT number, progress, started_at,
           sum(greatest(interval '0', finished_at - started_at))
               FILTER (WHERE state IN ('succeeded', 'failed', 'cancelled')) OVER () AS compute
    FROM attempts WHERE job_id = j.id AND started_at IS NOT NULL
    ORDER BY number DESC LIMIT 1
) a ON true
LEFT JOIN batches b ON b.id = j.batch_id
"""
JOBS = f"SELECT {_SHOWN} {_FROM}"

_PLACED = f"""
SELECT {_SHOWN}, CASE WHEN j.state = 'created' AND j.run_at <= now()
    THEN queue_position(j.tenant_id, j.kind, j.priority, j.run_at, j.id) END AS queue_position
{_FROM}
"""  # constants only


async def job(conn: AsyncConnection[TupleRow], tenant: UUID, job_id: UUID) -> Job | None:
    """Give a job of a tenant."""
    async with conn.cursor(row_factory=job_row) as cursor:
        await cursor.execute(JOBS + "WHERE j.id = %s AND j.tenant_id = %s", [job_id, tenant])
        return await cursor.fetchone()


async def jobs(
    conn: AsyncConnection[TupleRow], by_tenant: Mapping[UUID, Collection[UUID]]
) -> dict[tuple[UUID, UUID], Job]:
    """Give jobs with their places in their queues, under tenant and id, in one round trip.

    There is none for an id that is not of a job of its tenant. The connection is in a pipelined transaction.
    """
    cursors = []
    for tenant, ids in by_tenant.items():
        await act_for(conn, tenant)
        cursor = conn.cursor(row_factory=job_row)
        await cursor.execute(_PLACED + "WHERE j.id = ANY(%s) AND j.tenant_id = %s", [list(ids), tenant])
        cursors.append(cursor)
    return {(job.tenant_id, job.id): job for cursor in cursors for job in await cursor.fetchall()}


async def jobs_by_id(conn: AsyncConnection[TupleRow], tenant: UUID, ids: Collection[UUID]) -> dict[UUID, Job]:
    """Give those of the jobs that are the tenant's."""
    async with conn.cursor(row_factory=job_row) as cursor:
        await cursor.execute(JOBS + "WHERE j.id = ANY(%s) AND j.tenant_id = %s", [list(ids), tenant])
        return {found.id: found for found in await cursor.fetchall()}


async def ask_to_cancel(conn: AsyncConnection[TupleRow], tenant: UUID, job_id: UUID, at: datetime) -> None:
    """Write down that a job is to be cancelled, unless it has come to its end or was asked before."""
    await conn.execute(
        """UPDATE jobs SET cancel_requested_at = %s
           WHERE id = %s AND tenant_id = %s AND state IN ('created', 'processing')
             AND cancel_requested_at IS NULL""",
        [at, job_id, tenant],
    )


async def events(
    conn: AsyncConnection[TupleRow], tenant: UUID, job_id: UUID, after: int, limit: int
) -> list[JobEvent]:
    """Give a job's history in order, from above the sequence number `after`."""
    async with conn.cursor(row_factory=class_row(JobEvent)) as cursor:
        await cursor.execute(
            """SELECT seq, from_state, to_state, actor, reason, details, occurred_at FROM job_events
               WHERE job_id = %s AND tenant_id = %s AND seq > %s ORDER BY seq LIMIT %s""",
            [job_id, tenant, after, limit],
        )
        return await cursor.fetchall()


async def attempts(
    conn: AsyncConnection[TupleRow], tenant: UUID, job_id: UUID, after: int, limit: int
) -> list[Attempt]:
    """Give a job's attempts in order, from above the number `after`."""
    async with conn.cursor(row_factory=class_row(Attempt)) as cursor:
        await cursor.execute(
            """SELECT id, number, state, mode, dispatched_at, started_at, finished_at, progress, error, log_tail
               FROM attempts WHERE job_id = %s AND tenant_id = %s AND number > %s ORDER BY number LIMIT %s""",
            [job_id, tenant, after, limit],
        )
        return await cursor.fetchall()


async def claim_key(
    conn: AsyncConnection[TupleRow],
    tenant: UUID,
    *,
    route: str,
    key: str,
    fingerprint: bytes,
    at: datetime,
    expires_at: datetime,
) -> bool:
    """Take an idempotency key for a request, or find it taken for the same request; False for another one's."""
    cursor = await conn.execute(
        """INSERT INTO idempotency_keys AS k (tenant_id, route, key, fingerprint, created_at, expires_at)
           VALUES (%(tenant)s, %(route)s, %(key)s, %(fingerprint)s, %(at)s, %(expires_at)s)
           ON CONFLICT (tenant_id, route, key) DO UPDATE SET
               fingerprint = excluded.fingerprint, created_at = excluded.created_at, expires_at = excluded.expires_at
           WHERE k.expires_at <= excluded.created_at OR k.fingerprint = excluded.fingerprint
           RETURNING 1""",
        {
            "tenant": tenant,
            "route": route,
            "key": key,
            "fingerprint": fingerprint,
            "at": at,
            "expires_at": expires_at,
        },
    )
    return await cursor.fetchone() is not None
