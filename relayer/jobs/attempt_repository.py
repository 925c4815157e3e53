"""The SQL of attempts: opening, renewing, finishing, reaping, cancelling.

Whoever writes both locks attempts before jobs, each in the order of their ids. Leases expire by the clock of
the database, so that machines need not agree on the time.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row, kwargs_row

from relayer.jobs.handlers.base import Mode
from relayer.jobs.quota_repository import METERED
from relayer.jobs.records import LostAttempt, OpenAttempt
from relayer.jobs.transition import MOVES
from relayer.model.lifecycle import JobState

# Takes attempts and moves their jobs, in one statement: a lone job waits for every round trip.
_OPEN = f"""
WITH free AS MATERIALIZED (
    SELECT id FROM attempts WHERE id = ANY(%(ids)s::uuid[]) AND state = 'dispatched'
    ORDER BY id FOR UPDATE SKIP LOCKED
), opened AS (
    UPDATE attempts a SET
        state = 'running', fencing_token = nextval('fencing_tokens'), worker = %(worker)s,
        lease_expires_at = clock_timestamp() + %(lease)s, started_at = %(at)s
    FROM free f, jobs j
    WHERE a.id = f.id AND j.id = a.job_id
    RETURNING a.id, a.job_id, a.tenant_id, a.number, a.fencing_token, j.kind, j.input,
              j.state_version AS job_version, j.max_attempts, j.first_backoff, j.longest_backoff, j.retry_codes,
              greatest(interval '0', least(j.run_limit, j.created_at + j.total_limit - %(at)s)) AS run_limit,
              coalesce(j.created_at + j.total_limit - %(at)s < j.run_limit, false) AS is_total,
              (SELECT count(*) FROM attempts p WHERE p.job_id = a.job_id AND p.number > j.forgiven_until
                                                 AND p.state = 'failed') AS failures
), change AS (
    SELECT job_id, job_version AS version, 'created' AS source, 'processing' AS target, 'worker' AS actor,
           NULL AS reason, jsonb_build_object('attempt', number) AS details, NULL::bytea AS output_hash,
           NULL::bigint AS output_size, NULL AS output_media_type, NULL::jsonb AS error, NULL::uuid AS batch_id,
           NULL::timestamptz AS run_at
    FROM opened
), {MOVES}
SELECT o.*, o.job_id IN (SELECT id FROM moved) AS has_begun FROM opened o
"""  # noqa: S608  # constants only

_HELD = """
FROM attempts a
JOIN unnest(%(ids)s::uuid[], %(tokens)s::bigint[]) AS h (id, token) ON h.id = a.id AND h.token = a.fencing_token
JOIN jobs j ON j.id = a.job_id
WHERE a.state = 'running'
"""

# Both tell of each attempt that is still held whether its job is to be cancelled, and whether its lease was renewed.
# A row that is locked is being finished, maybe by this process: to wait for it could be to wait for oneself.
RENEW = f"""
WITH free AS MATERIALIZED (
    SELECT a.id, h.progress
    FROM attempts a JOIN unnest(%(ids)s::uuid[], %(tokens)s::bigint[], %(progress)s::jsonb[])
         AS h (id, token, progress) ON h.id = a.id AND h.token = a.fencing_token
    WHERE a.state = 'running' ORDER BY a.id FOR UPDATE OF a SKIP LOCKED
), renewed AS (
    UPDATE attempts a SET lease_expires_at = clock_timestamp() + %(lease)s,
                          progress = coalesce(f.progress, a.progress)
    FROM free f WHERE a.id = f.id
    RETURNING a.id
)
SELECT a.id, j.cancel_requested_at IS NOT NULL, a.id IN (SELECT id FROM renewed)
{_HELD}"""  # noqa: S608  # constants only

CHECK = f"""
SELECT a.id, j.cancel_requested_at IS NOT NULL, false
{_HELD}"""  # constants only

_FINISH = f"""
WITH held AS MATERIALIZED (
    SELECT a.id, h.state, h.error, h.log_tail
    FROM attempts a
    JOIN unnest(%(ids)s::uuid[], %(tokens)s::bigint[], %(states)s::text[], %(errors)s::jsonb[], %(log_tails)s::text[])
         AS h (id, token, state, error, log_tail) ON h.id = a.id AND h.token = a.fencing_token
    WHERE a.state = 'running' ORDER BY a.id FOR UPDATE OF a
), ended AS (
    UPDATE attempts a SET state = h.state, error = h.error, log_tail = h.log_tail, finished_at = %(at)s,
                          lease_expires_at = NULL
    FROM held h WHERE a.id = h.id
    RETURNING a.id, a.tenant_id, a.job_id, a.state, a.started_at
), {METERED}
SELECT id FROM ended
"""  # noqa: S608  # constants only

_REAP = """
WITH expired AS MATERIALIZED (
    SELECT id FROM attempts WHERE state = 'running' AND lease_expires_at < clock_timestamp()
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE attempts a SET state = 'lost', finished_at = %(at)s, lease_expires_at = NULL
FROM expired e, jobs j
WHERE a.id = e.id AND j.id = a.job_id
RETURNING a.job_id, j.state_version AS job_version, a.number,
          1 + (SELECT count(*) FROM attempts p WHERE p.job_id = a.job_id AND p.number > j.forgiven_until
                                                 AND p.state = 'lost') AS losses
"""

_EXPIRED = """
SELECT j.id, j.state_version, j.total_limit IS NOT NULL AND j.created_at + j.total_limit <= %(at)s AS is_total,
       j.expires_at - j.run_at AS waited,
       coalesce((SELECT max(a.number) FROM attempts a WHERE a.job_id = j.id AND a.started_at IS NOT NULL), 0) AS attempt
FROM jobs j
WHERE j.state = 'created' AND j.expires_at <= %(at)s
  AND NOT EXISTS (SELECT FROM attempts a WHERE a.job_id = j.id AND a.state = 'running')
ORDER BY j.expires_at LIMIT %(limit)s
"""

# Attempts before jobs, as everywhere.
_CANCELLED = f"""
WITH asked AS (
    SELECT id, state, state_version FROM jobs WHERE cancel_requested_at IS NOT NULL AND state IN ('created', 'processing')
      AND (state = 'created' OR cancel_requested_at < %(force_before)s)
    ORDER BY cancel_requested_at LIMIT %(limit)s
), live AS MATERIALIZED (
    SELECT a.id FROM attempts a JOIN asked ON asked.id = a.job_id
    WHERE a.state = CASE asked.state WHEN 'created' THEN 'dispatched' ELSE 'running' END
    ORDER BY a.id FOR UPDATE OF a
), ended AS (
    UPDATE attempts a SET state = 'cancelled', finished_at = %(at)s, lease_expires_at = NULL
    FROM live l WHERE a.id = l.id
    RETURNING a.id, a.tenant_id, a.job_id, a.state, a.started_at, a.mode, a.queue_job_id
), {METERED}
SELECT q.id AS job_id, q.state, q.state_version, e.mode, e.queue_job_id
FROM asked q LEFT JOIN ended e ON e.job_id = q.id
WHERE q.state = 'created' OR e.job_id IS NOT NULL
"""  # noqa: S608  # constants only


@dataclass(frozen=True)
class Finish:
    """How one attempt ended: `succeeded`, `failed`, `cancelled` or `returned`; `error` is JSON text."""

    attempt_id: UUID
    fencing_token: int
    state: str
    error: str | None
    log_tail: str | None


async def open_attempts(
    conn: AsyncConnection[TupleRow], ids: Collection[UUID], worker: str, lease: timedelta, at: datetime
) -> list[OpenAttempt]:
    """Take those of the attempts that nobody took yet, each with a fencing token and a lease, and move their jobs."""
    async with conn.cursor(row_factory=class_row(OpenAttempt)) as cursor:
        await cursor.execute(_OPEN, {"ids": list(ids), "worker": worker, "lease": lease, "at": at})
        return await cursor.fetchall()


async def finish_attempts(
    conn: AsyncConnection[TupleRow], finishes: Sequence[Finish], at: datetime
) -> set[UUID]:
    """Close attempts whose fencing token still holds; give their ids."""
    cursor = await conn.execute(
        _FINISH,
        {
            "at": at,
            "ids": [one.attempt_id for one in finishes],
            "tokens": [one.fencing_token for one in finishes],
            "states": [one.state for one in finishes],
            "errors": [one.error for one in finishes],
            "log_tails": [one.log_tail for one in finishes],
        },
    )
    return {row[0] for row in await cursor.fetchall()}


async def reap(conn: AsyncConnection[TupleRow], at: datetime, limit: int) -> list[LostAttempt]:
    """Close attempts whose lease ran out."""
    async with conn.cursor(row_factory=class_row(LostAttempt)) as cursor:
        await cursor.execute(_REAP, {"at": at, "limit": limit})
        return await cursor.fetchall()


@dataclass(frozen=True)
class ExpiredJob:
    """A job that waited longer than it may: past its total limit, or else past its queue limit, `waited`."""

    id: UUID
    state_version: int
    is_total: bool
    waited: timedelta
    attempt: int


async def expired(conn: AsyncConnection[TupleRow], at: datetime, limit: int) -> list[ExpiredJob]:
    """Give waiting jobs whose time is over."""
    async with conn.cursor(row_factory=class_row(ExpiredJob)) as cursor:
        await cursor.execute(_EXPIRED, {"at": at, "limit": limit})
        return await cursor.fetchall()


async def withdraw(conn: AsyncConnection[TupleRow], jobs: Collection[UUID], at: datetime) -> None:
    """End the attempts of jobs that wait in the queue and were not opened."""
    await conn.execute(
        """WITH queued AS MATERIALIZED (
               SELECT id FROM attempts WHERE job_id = ANY(%s) AND state = 'dispatched' ORDER BY id FOR UPDATE
           ) UPDATE attempts a SET state = 'cancelled', finished_at = %s FROM queued q WHERE a.id = q.id""",
        [list(jobs), at],
    )


@dataclass(frozen=True)
class CancelledJob:
    """A job to be cancelled, and where the attempt of it lies that was ended, if there was one."""

    job_id: UUID
    state: JobState
    state_version: int
    mode: Mode | None
    queue_job_id: UUID | None


def _cancelled_job(**row: Any) -> CancelledJob:
    mode = None if row["mode"] is None else Mode(row["mode"])
    return CancelledJob(**row | {"state": JobState(row["state"]), "mode": mode})


async def end_cancelled(
    conn: AsyncConnection[TupleRow], *, at: datetime, force_before: datetime, limit: int
) -> list[CancelledJob]:
    """End the attempts of jobs to be cancelled: those that wait, and those asked before `force_before`."""
    async with conn.cursor(row_factory=kwargs_row(_cancelled_job)) as cursor:
        await cursor.execute(_CANCELLED, {"at": at, "force_before": force_before, "limit": limit})
        return await cursor.fetchall()
