"""The SQL of submission."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow, class_row

from relayer.jobs.quota_repository import COUNT_INTO, JOBS, SHARD
from relayer.jobs.records import Job, Priority
from relayer.model.lifecycle import JobState

BELL = "jobseal_jobs"
"""The channel that is notified when a queue that was at rest gets a job that is due."""

# One statement for any number of a tenant's jobs, so that of identical requests in flight exactly one makes a job and
# takes a ticket. A key whose time is over counts as new. Everybody locks keys before queues, each in their order, so
# that no two requests wait for each other. A queue's row is written only where it does not tell of these jobs yet:
# thousands of submissions to a busy queue need not wait for each other. Tickets are drawn in the lane of the kind, and by
# expected duration, so that jobs that end together share words. The last condition rings the bell.
_SUBMIT = f"""
WITH n AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(jobs)s::json) AS n (
        id uuid, registry smallint, kind text, priority smallint, input text, input_hash text, metadata jsonb, salt text,
        max_attempts smallint, first_backoff interval, longest_backoff interval, retry_codes text[],
        queue_limit interval, run_limit interval, total_limit interval, run_at timestamptz, rerun_of uuid,
        at timestamptz, key text, fingerprint text, key_expires_at timestamptz)
), claimed AS (
    INSERT INTO idempotency_keys AS k (tenant_id, route, key, fingerprint, job_id, created_at, expires_at)
    SELECT %(tenant)s, %(route)s, n.key, decode(n.fingerprint, 'hex'), n.id, n.at, n.key_expires_at
    FROM n WHERE n.key IS NOT NULL ORDER BY n.key
    ON CONFLICT (tenant_id, route, key) DO UPDATE SET
        fingerprint = excluded.fingerprint, job_id = excluded.job_id,
        created_at = excluded.created_at, expires_at = excluded.expires_at
    WHERE k.expires_at <= excluded.created_at
    RETURNING k.key
), j AS (
    INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, priority, state, status_reason, input, input_hash,
                      metadata, salt, max_attempts, first_backoff, longest_backoff, retry_codes, queue_limit,
                      run_limit, total_limit, expires_at, run_at, rerun_of, created_at)
    SELECT n.id, %(tenant)s, n.registry,
           next_ticket(n.registry, coalesce(l.lane, 0::smallint),
                       duration_class(extract(epoch FROM n.run_at - n.at)::float8 + r.seconds)),
           n.kind, n.priority, 'created', 'queued', n.input, decode(n.input_hash, 'hex'), n.metadata,
           decode(n.salt, 'hex'), n.max_attempts, n.first_backoff, n.longest_backoff, n.retry_codes, n.queue_limit, n.run_limit, n.total_limit,
           least(n.run_at + n.queue_limit, n.at + n.total_limit), n.run_at, n.rerun_of, n.at
    FROM n LEFT JOIN run_times r USING (kind) LEFT JOIN kind_lanes l USING (kind) WHERE n.key IS NULL OR n.key IN (SELECT key FROM claimed)
    RETURNING id, tenant_id, ticket, kind, priority, state, state_version, status_reason, run_at, created_at
), event AS (
    INSERT INTO job_events (job_id, seq, tenant_id, to_state, actor, reason, occurred_at)
    SELECT id, state_version, tenant_id, state, 'api', status_reason, created_at FROM j
), queue AS (
    INSERT INTO active_queues AS q (tenant_id, kind, priority, due_at)
    SELECT j.tenant_id, j.kind, j.priority, min(j.run_at) FROM j
    GROUP BY 1, 2, 3
    HAVING NOT EXISTS (SELECT FROM active_queues o WHERE o.tenant_id = j.tenant_id AND o.kind = j.kind
                           AND o.priority = j.priority AND o.due_at <= min(j.run_at) AND o.looks = 0)
    ORDER BY 1, 2, 3
    ON CONFLICT (tenant_id, kind, priority) DO UPDATE SET due_at = least(q.due_at, excluded.due_at), looks = 0
    RETURNING due_at
), counted AS (
    INSERT INTO usage_counters AS c (period, meter, tenant_id, shard, quantity)
    SELECT (j.created_at AT TIME ZONE 'UTC')::date, '{JOBS}', j.tenant_id, {SHARD}, count(*) FROM j
    GROUP BY 1, 3 ORDER BY 1, 3
    {COUNT_INTO}
)
SELECT id, ticket FROM j
WHERE (SELECT count(pg_notify('{BELL}', '')) FROM queue WHERE due_at <= %(at)s) >= 0
"""  # noqa: S608  # constants only


@dataclass(frozen=True)
class NewJob:
    """A job about to be made; `fingerprint` and `key_expires_at` count only with a `key`."""

    id: UUID
    tenant: UUID
    registry: int
    kind: str
    priority: Priority
    input: str
    input_hash: bytes
    metadata: dict[str, Any]
    salt: bytes
    max_attempts: int
    first_backoff: timedelta
    longest_backoff: timedelta
    retry_codes: list[str] | None
    queue_limit: timedelta | None
    run_limit: timedelta
    total_limit: timedelta | None
    run_at: datetime
    rerun_of: UUID | None
    at: datetime
    route: str
    key: str | None
    fingerprint: bytes
    key_expires_at: datetime

    def job(self, ticket: int) -> Job:
        """Give the job as it stands when it was made with this ticket."""
        return Job(
            id=self.id,
            tenant_id=self.tenant,
            registry_id=self.registry,
            ticket=ticket,
            kind=self.kind,
            priority=self.priority,
            state=JobState.CREATED,
            state_version=1,
            status_reason="scheduled" if self.run_at > self.at else "queued",
            input=self.input,
            input_hash=self.input_hash,
            metadata=self.metadata,
            salt=self.salt,
            max_attempts=self.max_attempts,
            first_backoff=self.first_backoff,
            longest_backoff=self.longest_backoff,
            retry_codes=self.retry_codes,
            queue_limit=self.queue_limit,
            run_limit=self.run_limit,
            total_limit=self.total_limit,
            run_at=self.run_at,
            output_hash=None,
            output_size=None,
            output_media_type=None,
            error=None,
            batch_id=None,
            rerun_of=self.rerun_of,
            created_at=self.at,
            cancel_requested_at=None,
            result_ready_at=None,
            confirmed_at=None,
            finished_at=None,
            revoked_at=None,
        )


@dataclass(frozen=True)
class UsedKey:
    """What an idempotency key was used for: the request's fingerprint and the job it made."""

    key: str
    fingerprint: bytes
    job_id: UUID | None


@dataclass(frozen=True)
class Insertion:
    """The jobs of one tenant and route as they are sent; no two have the same idempotency key."""

    tenant: UUID
    route: str
    jobs: str
    at: datetime


def insertion(tenant: UUID, route: str, jobs: Sequence[NewJob]) -> Insertion:
    """Write jobs as `insert_jobs` sends them."""
    text = orjson.dumps([_row(new) for new in jobs]).decode()
    return Insertion(tenant, route, text, max(new.at for new in jobs))


async def wait_briefly_for_locks(conn: AsyncConnection[TupleRow]) -> None:
    """Let the transaction fail rather than wait long for somebody else's."""
    await conn.execute("SELECT set_config('lock_timeout', '200ms', true)")


async def insert_jobs(conn: AsyncConnection[TupleRow], jobs: Insertion) -> AsyncCursor[TupleRow]:
    """Make jobs, each with its ticket and first event.

    Returns:
        What `tickets` reads. A pipelined transaction need not wait for it.

    """
    return await conn.execute(_SUBMIT, vars(jobs))


async def tickets(inserted: AsyncCursor[TupleRow]) -> dict[UUID, int]:
    """Give the tickets of the jobs that were made; those whose keys were taken are missing."""
    return dict(await inserted.fetchall())


async def used_keys(
    conn: AsyncConnection[TupleRow], tenant: UUID, route: str, keys: Collection[str], at: datetime
) -> dict[str, UsedKey]:
    """Give what those of the keys were used for that still count."""
    async with conn.cursor(row_factory=class_row(UsedKey)) as cursor:
        await cursor.execute(
            """SELECT key, fingerprint, job_id FROM idempotency_keys
               WHERE tenant_id = %s AND route = %s AND key = ANY(%s) AND expires_at > %s""",
            [tenant, route, list(keys), at],
        )
        return {used.key: used for used in await cursor.fetchall()}


async def count_waiting(conn: AsyncConnection[TupleRow], tenant: UUID) -> tuple[int, int]:
    """Count a tenant's waiting jobs, no further than to its cap; give the count and the cap."""
    cursor = await conn.execute(
        """SELECT (SELECT count(*) FROM (SELECT FROM jobs WHERE tenant_id = t.id AND state = 'created'
                                         LIMIT t.waiting_cap) w), t.waiting_cap
           FROM tenants t WHERE t.id = %s""",
        [tenant],
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _row(new: NewJob) -> dict[str, Any]:
    """Write a job as JSON: one parameter costs far less than an array for each column."""
    return {
        "id": new.id,
        "registry": new.registry,
        "kind": new.kind,
        "priority": new.priority,
        "input": new.input,
        "input_hash": new.input_hash.hex(),
        "metadata": new.metadata,
        "salt": new.salt.hex(),
        "max_attempts": new.max_attempts,
        "first_backoff": _interval(new.first_backoff),
        "longest_backoff": _interval(new.longest_backoff),
        "retry_codes": new.retry_codes,
        "queue_limit": _interval(new.queue_limit),
        "run_limit": _interval(new.run_limit),
        "total_limit": _interval(new.total_limit),
        "run_at": new.run_at,
        "rerun_of": new.rerun_of,
        "at": new.at,
        "key": new.key,
        "fingerprint": new.fingerprint.hex(),
        "key_expires_at": new.key_expires_at,
    }


def _interval(value: timedelta | None) -> str | None:
    return None if value is None else f"{value // timedelta(microseconds=1)} microseconds"
