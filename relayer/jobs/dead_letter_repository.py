"""The SQL of dead letters: failed jobs, and what was asked to be done with them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.jobs.records import Job, job_row
from relayer.jobs.repository import JOBS

_MATCHES = """
    j.tenant_id = %(tenant_id)s AND j.state = 'failed'
    AND (%(kind)s::text IS NULL OR j.kind = %(kind)s)
    AND (%(error_code)s::text IS NULL OR j.error ->> 'code' = %(error_code)s)
    AND (%(failed_from)s::timestamptz IS NULL OR j.finished_at >= %(failed_from)s)
    AND (%(failed_to)s::timestamptz IS NULL OR j.finished_at <= %(failed_to)s)
    AND (%(job_ids)s::uuid[] IS NULL OR j.id = ANY(%(job_ids)s))
"""

# A new job runs in the place of one whose ticket is spent; what is redriven keeps its ticket.
_REDRIVABLE = f"{_MATCHES} AND j.error ->> 'code' IS DISTINCT FROM 'ticket_spent'"
_COUNT = f"SELECT count(*) FROM jobs j WHERE {_REDRIVABLE}"  # noqa: S608  # constants only
_LETTERS = f"""
SELECT j.id AS job_id, j.state_version AS version, j.finished_at FROM jobs j
WHERE {_REDRIVABLE}
  AND (j.finished_at, j.id) > (coalesce(%(taken_to)s::timestamptz, '-infinity'),
                               coalesce(%(taken_to_id)s::uuid, '00000000-0000-0000-0000-000000000000'))
ORDER BY j.finished_at, j.id LIMIT %(limit)s
"""  # noqa: S608  # constants only
_PAGE = f"""{JOBS} WHERE {_MATCHES}
AND (%(time)s::timestamptz IS NULL OR (j.finished_at, j.id) < (%(time)s, %(id)s::uuid))
ORDER BY j.finished_at DESC, j.id DESC LIMIT %(limit)s
"""

_REDRIVE = """
SELECT id, tenant_id, actor, kind, error_code, failed_from, failed_to, job_ids, rate, matched, redriven,
       created_at, next_run_at, finished_at, taken_to, taken_to_id
FROM redrives
"""

# One statement, so that of identical requests in flight exactly one asks. A key whose time is over counts as new.
_INSERT = """
WITH claimed AS (
    INSERT INTO idempotency_keys AS k (tenant_id, route, key, fingerprint, redrive_id, created_at, expires_at)
    SELECT %(tenant_id)s, %(route)s, %(key)s, %(fingerprint)s, %(id)s, %(created_at)s, %(expires_at)s
    WHERE %(key)s::text IS NOT NULL
    ON CONFLICT (tenant_id, route, key) DO UPDATE SET
        fingerprint = excluded.fingerprint, redrive_id = excluded.redrive_id,
        created_at = excluded.created_at, expires_at = excluded.expires_at
    WHERE k.expires_at <= excluded.created_at
    RETURNING 1
)
INSERT INTO redrives (id, tenant_id, actor, kind, error_code, failed_from, failed_to, job_ids, rate, matched,
                      created_at, next_run_at)
SELECT %(id)s, %(tenant_id)s, %(actor)s, %(kind)s, %(error_code)s, %(failed_from)s, %(failed_to)s, %(job_ids)s,
       %(rate)s, %(matched)s, %(created_at)s, %(next_run_at)s
WHERE %(key)s::text IS NULL OR EXISTS (SELECT FROM claimed)
"""


@dataclass(frozen=True)
class KeyUse:
    """An idempotency key, or None, and the request that it stands for; `fingerprint` is 32 bytes."""

    route: str
    key: str | None
    fingerprint: bytes
    expires_at: datetime


@dataclass(frozen=True)
class DeadLetterFilter:
    """Which failed jobs of a tenant: those to which everything that is given applies; both times included."""

    tenant_id: UUID
    kind: str | None = None
    error_code: str | None = None
    failed_from: datetime | None = None
    failed_to: datetime | None = None
    job_ids: Collection[UUID] | None = None


@dataclass(frozen=True)
class Redrive:
    """A redrive as it was asked for and as far as it got; `rate` is in jobs a second.

    `next_run_at` is the time of the next letter's turn; the last one taken failed at `taken_to` and is `taken_to_id`.
    """

    id: UUID
    tenant_id: UUID
    actor: str
    kind: str | None
    error_code: str | None
    failed_from: datetime | None
    failed_to: datetime
    job_ids: list[UUID] | None
    rate: int
    matched: int
    redriven: int
    created_at: datetime
    next_run_at: datetime
    finished_at: datetime | None
    taken_to: datetime | None = None
    taken_to_id: UUID | None = None


@dataclass(frozen=True)
class Letter:
    """A dead letter that a redrive asks for."""

    job_id: UUID
    version: int
    finished_at: datetime


async def dead_letters(
    conn: AsyncConnection[TupleRow],
    wanted: DeadLetterFilter,
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Job]:
    """Give failed jobs, the last to fail first, from below the (time, id) `before`."""
    async with conn.cursor(row_factory=job_row) as cursor:
        await cursor.execute(
            _PAGE,
            _parameters(wanted) | {"time": before and before[0], "id": before and before[1], "limit": limit},
        )
        return await cursor.fetchall()


async def count(conn: AsyncConnection[TupleRow], wanted: DeadLetterFilter) -> int:
    """Count the failed jobs that a filter names."""
    cursor = await conn.execute(_COUNT, _parameters(wanted))
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def insert_redrive(conn: AsyncConnection[TupleRow], redrive: Redrive, key: KeyUse) -> bool:
    """Write down what was asked; False, and nothing is written, where the idempotency key is taken."""
    cursor = await conn.execute(_INSERT, vars(redrive) | vars(key))
    return cursor.rowcount == 1


async def used_key(
    conn: AsyncConnection[TupleRow], tenant: UUID, key: KeyUse, at: datetime
) -> tuple[bytes, UUID] | None:
    """Give the fingerprint and the redrive that an idempotency key was used for, while that counts."""
    cursor = await conn.execute(
        """SELECT fingerprint, redrive_id FROM idempotency_keys
           WHERE tenant_id = %s AND route = %s AND key = %s AND expires_at > %s""",
        [tenant, key.route, key.key, at],
    )
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1])


async def redrive(conn: AsyncConnection[TupleRow], tenant: UUID, redrive_id: UUID) -> Redrive | None:
    """Give a redrive of a tenant."""
    async with conn.cursor(row_factory=class_row(Redrive)) as cursor:
        await cursor.execute(_REDRIVE + "WHERE id = %s AND tenant_id = %s", [redrive_id, tenant])
        return await cursor.fetchone()


async def next_due(
    conn: AsyncConnection[TupleRow], before: datetime, last_tenant: UUID | None
) -> Redrive | None:
    """Give an open redrive whose next letter's turn comes before a time, of the tenant that follows `last_tenant`."""
    async with conn.cursor(row_factory=class_row(Redrive)) as cursor:
        await cursor.execute(
            _REDRIVE
            + """WHERE finished_at IS NULL AND next_run_at <= %s
                 ORDER BY tenant_id <= %s, tenant_id, next_run_at, id LIMIT 1""",
            [before, last_tenant],
        )
        return await cursor.fetchone()


async def letters_of(conn: AsyncConnection[TupleRow], one: Redrive, limit: int) -> list[Letter]:
    """Give dead letters that a redrive asks for and has not taken yet, the first to fail first."""
    wanted = DeadLetterFilter(
        one.tenant_id, one.kind, one.error_code, one.failed_from, one.failed_to, one.job_ids
    )
    position = {"taken_to": one.taken_to, "taken_to_id": one.taken_to_id}
    async with conn.cursor(row_factory=class_row(Letter)) as cursor:
        await cursor.execute(_LETTERS, _parameters(wanted) | position | {"limit": limit})
        return await cursor.fetchall()


async def note_progress(
    conn: AsyncConnection[TupleRow],
    one: Redrive,
    *,
    moved: int,
    last: Letter | None,
    next_run_at: datetime,
    finished_at: datetime | None,
) -> None:
    """Write down how far a redrive got: `last` is the last letter that it took, None where it took no more."""
    await conn.execute(
        """UPDATE redrives SET redriven = redriven + %s, next_run_at = %s, finished_at = %s,
               taken_to = coalesce(%s, taken_to), taken_to_id = coalesce(%s, taken_to_id)
           WHERE id = %s""",
        [moved, next_run_at, finished_at, last and last.finished_at, last and last.job_id, one.id],
    )


def _parameters(wanted: DeadLetterFilter) -> dict[str, object]:
    job_ids = None if wanted.job_ids is None else list(wanted.job_ids)
    return vars(wanted) | {"job_ids": job_ids}
