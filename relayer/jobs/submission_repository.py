"""The SQL of submission."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from relayer.jobs.records import Job, Priority, job_row
from relayer.jobs.repository import COLUMNS

BELL = "jobseal_jobs"
"""The channel that is notified when a queue that was at rest gets a job that is due."""

# One statement, so that of identical requests in flight exactly one makes a job and takes a ticket. A key
# whose time is over counts as new; one without a job is reserved by this very transaction. The queue's row is
# written only where it does not tell of this job yet: thousands of submissions to a busy queue need not wait for
# each other. The last condition rings the bell.
_SUBMIT = f"""
WITH claimed AS (
    INSERT INTO idempotency_keys AS k (tenant_id, route, key, fingerprint, job_id, created_at, expires_at)
    SELECT %(tenant)s, %(route)s, %(key)s, %(fingerprint)s, %(id)s, %(at)s, %(key_expires_at)s
    WHERE %(key)s::text IS NOT NULL
    ON CONFLICT (tenant_id, route, key) DO UPDATE SET
        fingerprint = excluded.fingerprint, job_id = excluded.job_id,
        created_at = excluded.created_at, expires_at = excluded.expires_at
    WHERE k.expires_at <= excluded.created_at OR k.job_id IS NULL
    RETURNING 1
), j AS (
    INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, priority, state, status_reason, input, input_hash,
                      metadata, salt, max_attempts, first_backoff, longest_backoff, retry_codes, queue_limit,
                      run_limit, total_limit, expires_at, run_at, rerun_of, created_at)
    SELECT %(id)s, %(tenant)s, %(registry)s, next_ticket(%(registry)s::smallint, 0::smallint), %(kind)s,
           %(priority)s, 'created', 'queued', %(input)s, %(input_hash)s, %(metadata)s, %(salt)s, %(max_attempts)s,
           %(first_backoff)s, %(longest_backoff)s, %(retry_codes)s, %(queue_limit)s, %(run_limit)s, %(total_limit)s,
           least(%(run_at)s::timestamptz + %(queue_limit)s, %(at)s::timestamptz + %(total_limit)s),
           %(run_at)s, %(rerun_of)s, %(at)s
    WHERE %(key)s::text IS NULL OR EXISTS (SELECT FROM claimed)
    RETURNING *
), event AS (
    INSERT INTO job_events (job_id, seq, tenant_id, to_state, actor, reason, occurred_at)
    SELECT id, state_version, tenant_id, state, 'api', status_reason, created_at FROM j
), queue AS (
    INSERT INTO active_queues AS q (tenant_id, kind, priority, due_at)
    SELECT tenant_id, kind, priority, run_at FROM j
    WHERE NOT EXISTS (SELECT FROM active_queues o WHERE o.tenant_id = j.tenant_id AND o.kind = j.kind
                          AND o.priority = j.priority AND o.due_at <= j.run_at AND o.looks = 0)
    ON CONFLICT (tenant_id, kind, priority) DO UPDATE SET due_at = least(q.due_at, excluded.due_at), looks = 0
    RETURNING due_at
)
SELECT {COLUMNS}, CASE WHEN j.run_at > %(at)s THEN 'scheduled' ELSE j.status_reason END AS status_reason FROM j
WHERE (SELECT count(pg_notify('{BELL}', '')) FROM queue WHERE due_at <= %(at)s) >= 0
"""  # noqa: S608  # constants only

# Everybody locks keys before queues, each in their order, so that no two requests wait for each other.
_RESERVE_KEYS = """
INSERT INTO idempotency_keys AS k (tenant_id, route, key, fingerprint, created_at, expires_at)
SELECT %(tenant)s, %(route)s, n.key, n.fingerprint, %(at)s, %(key_expires_at)s
FROM unnest(%(keys)s::text[], %(fingerprints)s::bytea[]) AS n (key, fingerprint) ORDER BY n.key
ON CONFLICT (tenant_id, route, key) DO UPDATE SET
    fingerprint = excluded.fingerprint, job_id = NULL,
    created_at = excluded.created_at, expires_at = excluded.expires_at
WHERE k.expires_at <= excluded.created_at
"""


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
    metadata: dict[str, object]
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


@dataclass(frozen=True)
class UsedKey:
    """What an idempotency key was used for: the request's fingerprint and the job it made."""

    key: str
    fingerprint: bytes
    job_id: UUID | None


async def insert_jobs(conn: AsyncConnection[TupleRow], jobs: Sequence[NewJob]) -> list[Job | None]:
    """Make the jobs of one request, each with its ticket and first event, in one round trip.

    No two of them have the same idempotency key.

    Returns:
        For each its job; None where its key is taken.

    """
    cursors = [conn.cursor(row_factory=job_row) for _ in jobs]
    async with conn.pipeline():
        if len(jobs) > 1:
            keys = {new.key: new.fingerprint for new in jobs if new.key is not None}
            await conn.execute(
                _RESERVE_KEYS,
                vars(jobs[0]) | {"keys": list(keys), "fingerprints": list(keys.values())},
            )
        for number in sorted(range(len(jobs)), key=lambda one: (jobs[one].kind, jobs[one].priority)):
            new = jobs[number]
            await cursors[number].execute(_SUBMIT, vars(new) | {"metadata": Jsonb(new.metadata)})
    return [await cursor.fetchone() for cursor in cursors]


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
