"""The SQL of attempts: dispatching, opening, renewing, finishing, reaping.

Whoever writes both locks attempts before jobs, each in the order of their ids. Leases expire by the clock of
the database, so that machines need not agree on the time.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.jobs.handlers.base import Mode
from relayer.jobs.records import LostAttempt, NewAttempt, OpenAttempt

# Each tenant's next jobs, by turn: a tenant's first waiting job comes before anyone's second, counting what it
# already has in the queue. Only as many rows of a tenant are read as it may have.
_NEXT = """
WITH live AS (
    SELECT tenant_id, count(*) AS running, count(*) FILTER (WHERE state = 'dispatched' AND mode = %(mode)s) AS queued
    FROM attempts WHERE state IN ('dispatched', 'running') GROUP BY tenant_id
)
SELECT w.id, t.id
FROM tenants t
LEFT JOIN live l ON l.tenant_id = t.id
CROSS JOIN LATERAL (
    SELECT j.id, row_number() OVER (ORDER BY j.run_at, j.id) AS turn
    FROM jobs j
    WHERE j.tenant_id = t.id AND j.state = 'created' AND j.run_at <= %(at)s AND j.kind = ANY(%(kinds)s)
      AND NOT EXISTS (SELECT FROM attempts a WHERE a.job_id = j.id AND a.state IN ('dispatched', 'running'))
    ORDER BY j.run_at, j.id
    LIMIT greatest(0, least(%(room)s, %(cap)s - coalesce(l.running, 0)))
) w
ORDER BY w.turn + coalesce(l.queued, 0), w.id
LIMIT %(room)s
"""

_INSERT = """
INSERT INTO attempts (id, job_id, tenant_id, number, mode, state, queue_job_id, dispatched_at, pushed_at)
SELECT n.id, n.job_id, n.tenant_id,
       1 + coalesce((SELECT max(a.number) FROM attempts a WHERE a.job_id = n.job_id), 0),
       n.mode, 'dispatched', n.queue_job_id, %(at)s, %(at)s
FROM unnest(%(id)s::uuid[], %(job_id)s::uuid[], %(tenant_id)s::uuid[], %(mode)s::text[], %(queue_job_id)s::uuid[])
     AS n (id, job_id, tenant_id, mode, queue_job_id)
"""

_OPEN = """
WITH free AS MATERIALIZED (
    SELECT id FROM attempts WHERE id = ANY(%(ids)s::uuid[]) AND state = 'dispatched'
    ORDER BY id FOR UPDATE SKIP LOCKED
)
UPDATE attempts a SET
    state = 'running', fencing_token = nextval('fencing_tokens'), worker = %(worker)s,
    lease_expires_at = clock_timestamp() + %(lease)s, started_at = %(at)s
FROM free f, jobs j
WHERE a.id = f.id AND j.id = a.job_id
RETURNING a.id, a.job_id, a.tenant_id, a.number, a.fencing_token, j.kind, j.input,
          j.state_version AS job_version, j.max_attempts,
          (SELECT count(*) FROM attempts p WHERE p.job_id = a.job_id AND p.state = 'failed') AS failures
"""

RENEW = """
WITH held AS MATERIALIZED (
    SELECT a.id, h.progress
    FROM attempts a JOIN unnest(%(ids)s::uuid[], %(tokens)s::bigint[], %(progress)s::jsonb[])
         AS h (id, token, progress) ON h.id = a.id AND h.token = a.fencing_token
    WHERE a.state = 'running' ORDER BY a.id FOR UPDATE OF a
)
UPDATE attempts a SET lease_expires_at = clock_timestamp() + %(lease)s,
                      progress = coalesce(h.progress, a.progress)
FROM held h WHERE a.id = h.id
RETURNING a.id
"""

_FINISH = """
WITH held AS MATERIALIZED (
    SELECT a.id, h.state, h.error, h.log_tail
    FROM attempts a
    JOIN unnest(%(ids)s::uuid[], %(tokens)s::bigint[], %(states)s::text[], %(errors)s::jsonb[], %(log_tails)s::text[])
         AS h (id, token, state, error, log_tail) ON h.id = a.id AND h.token = a.fencing_token
    WHERE a.state = 'running' ORDER BY a.id FOR UPDATE OF a
)
UPDATE attempts a SET state = h.state, error = h.error, log_tail = h.log_tail, finished_at = %(at)s,
                      lease_expires_at = NULL
FROM held h WHERE a.id = h.id
RETURNING a.id
"""

_OWN_OUTPUTS = """
WITH output AS (
    SELECT * FROM unnest(%(tenants)s::uuid[], %(hashes)s::bytea[], %(sizes)s::bigint[], %(media_types)s::text[])
        AS o (tenant_id, hash, size, media_type)
), stored AS (
    INSERT INTO blobs (hash, size, created_at)
    SELECT DISTINCT ON (hash) hash, size, %(at)s::timestamptz FROM output ORDER BY hash
    ON CONFLICT DO NOTHING
)
INSERT INTO blob_owners (tenant_id, hash, media_type, created_at)
SELECT DISTINCT ON (tenant_id, hash) tenant_id, hash, media_type, %(at)s::timestamptz
FROM output ORDER BY tenant_id, hash
ON CONFLICT DO NOTHING
"""

_REAP = """
WITH expired AS MATERIALIZED (
    SELECT id FROM attempts WHERE state = 'running' AND lease_expires_at < clock_timestamp()
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE attempts a SET state = 'lost', finished_at = %(at)s, lease_expires_at = NULL
FROM expired e, jobs j
WHERE a.id = e.id AND j.id = a.job_id
RETURNING a.job_id, j.state_version AS job_version, a.number,
          1 + (SELECT count(*) FROM attempts p WHERE p.job_id = a.job_id AND p.state = 'lost') AS losses
"""


@dataclass(frozen=True)
class Finish:
    """How one attempt ended: `state` is `succeeded` or `failed`; `error` is JSON text."""

    attempt_id: UUID
    fencing_token: int
    state: str
    error: str | None
    log_tail: str | None


@dataclass(frozen=True)
class MadeBlob:
    """A job's output, which its tenant may name from now on."""

    tenant_id: UUID
    hash: bytes
    size: int
    media_type: str


async def count_queued(conn: AsyncConnection[TupleRow], mode: Mode) -> int:
    """Count the attempts that wait in a mode's queue."""
    cursor = await conn.execute(
        "SELECT count(*) FROM attempts WHERE state = 'dispatched' AND mode = %s", [mode.value]
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def next_jobs(
    conn: AsyncConnection[TupleRow], *, mode: Mode, kinds: list[str], room: int, cap: int, at: datetime
) -> list[tuple[UUID, UUID]]:
    """Give (job, tenant) of the jobs whose turn it is, fairly over tenants, at most `room`."""
    cursor = await conn.execute(
        _NEXT, {"mode": mode.value, "kinds": kinds, "room": room, "cap": cap, "at": at}
    )
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def insert_attempts(
    conn: AsyncConnection[TupleRow], attempts: Sequence[NewAttempt], at: datetime
) -> None:
    """Write down attempts that are about to be pushed."""
    await conn.execute(
        _INSERT,
        {
            "at": at,
            "id": [one.id for one in attempts],
            "job_id": [one.job_id for one in attempts],
            "tenant_id": [one.tenant_id for one in attempts],
            "mode": [one.mode.value for one in attempts],
            "queue_job_id": [one.queue_job_id for one in attempts],
        },
    )


async def overdue(
    conn: AsyncConnection[TupleRow], mode: Mode, pushed_before: datetime
) -> list[tuple[UUID, UUID]]:
    """Give (attempt, queue job) of attempts that were pushed before a time and not opened since."""
    cursor = await conn.execute(
        """SELECT id, queue_job_id FROM attempts
           WHERE state = 'dispatched' AND mode = %s AND pushed_at < %s ORDER BY id""",
        [mode.value, pushed_before],
    )
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def readdress(
    conn: AsyncConnection[TupleRow], attempts: Sequence[tuple[UUID, UUID]], at: datetime
) -> None:
    """Write down that attempts, given as (attempt, queue job), are pushed again."""
    await conn.execute(
        """UPDATE attempts a SET queue_job_id = n.queue_job_id, pushed_at = %s
           FROM unnest(%s::uuid[], %s::uuid[]) AS n (id, queue_job_id)
           WHERE a.id = n.id AND a.state = 'dispatched'""",
        [at, [attempt for attempt, _ in attempts], [queue_job for _, queue_job in attempts]],
    )


async def mark_unknown_kinds(conn: AsyncConnection[TupleRow], known: list[str]) -> int:
    """Say of waiting jobs that nothing installed runs their kind; they wait until something does."""
    cursor = await conn.execute(
        """UPDATE jobs SET status_reason = 'unknown_kind'
           WHERE state = 'created' AND kind <> ALL(%s) AND status_reason IS DISTINCT FROM 'unknown_kind'""",
        [known],
    )
    return cursor.rowcount


async def open_attempts(
    conn: AsyncConnection[TupleRow], ids: Collection[UUID], worker: str, lease: timedelta, at: datetime
) -> list[OpenAttempt]:
    """Take those of the attempts that nobody took yet, each with a fencing token and a lease."""
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


async def own_outputs(conn: AsyncConnection[TupleRow], made: Sequence[MadeBlob], at: datetime) -> None:
    """Write down that outputs exist and whose they are."""
    columns: dict[str, Any] = {
        "at": at,
        "tenants": [one.tenant_id for one in made],
        "hashes": [one.hash for one in made],
        "sizes": [one.size for one in made],
        "media_types": [one.media_type for one in made],
    }
    await conn.execute(_OWN_OUTPUTS, columns)


async def reap(conn: AsyncConnection[TupleRow], at: datetime, limit: int) -> list[LostAttempt]:
    """Close attempts whose lease ran out."""
    async with conn.cursor(row_factory=class_row(LostAttempt)) as cursor:
        await cursor.execute(_REAP, {"at": at, "limit": limit})
        return await cursor.fetchall()
