"""The SQL of jobs as tenants see them: submission, reading, blobs."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from relayer.jobs.records import Job, job_row
from relayer.model.lifecycle import JobState
from relayer.store.blobs import StoredBlob

_COLUMNS = """
j.id, j.tenant_id, j.registry_id, j.ticket, j.kind, j.state, j.state_version, j.status_reason, j.input,
j.input_hash, j.metadata, j.salt, j.max_attempts, j.run_at, j.output_hash, j.output_size, j.output_media_type,
j.error, j.batch_id, j.rerun_of, j.created_at, j.result_ready_at, j.confirmed_at, j.revoked_at
"""
_JOBS = f"""
SELECT {_COLUMNS}, b.state AS batch_state, b.root AS batch_root, b.transaction_hash, b.block_number
FROM jobs j LEFT JOIN batches b ON b.id = j.batch_id
"""  # noqa: S608  # constants only

# One statement, so that of identical requests in flight exactly one makes a job and takes a ticket. A key
# whose time is over counts as new.
_SUBMIT = f"""
WITH claimed AS (
    INSERT INTO idempotency_keys AS k (tenant_id, route, key, fingerprint, job_id, created_at, expires_at)
    SELECT %(tenant)s, %(route)s, %(key)s, %(fingerprint)s, %(id)s, %(at)s, %(key_expires_at)s
    WHERE %(key)s::text IS NOT NULL
    ON CONFLICT (tenant_id, route, key) DO UPDATE SET
        fingerprint = excluded.fingerprint, job_id = excluded.job_id,
        created_at = excluded.created_at, expires_at = excluded.expires_at
    WHERE k.expires_at <= excluded.created_at
    RETURNING 1
), j AS (
    INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, status_reason, input, input_hash,
                      metadata, salt, max_attempts, run_at, created_at)
    SELECT %(id)s, %(tenant)s, %(registry)s, next_ticket(%(registry)s::smallint, 0::smallint), %(kind)s,
           'created', 'queued', %(input)s, %(input_hash)s, %(metadata)s, %(salt)s, %(max_attempts)s, %(at)s, %(at)s
    WHERE %(key)s::text IS NULL OR EXISTS (SELECT FROM claimed)
    RETURNING *
), event AS (
    INSERT INTO job_events (job_id, seq, tenant_id, to_state, actor, reason, occurred_at)
    SELECT id, state_version, tenant_id, state, 'api', status_reason, created_at FROM j
)
SELECT {_COLUMNS} FROM j
"""  # noqa: S608  # constants only


@dataclass(frozen=True)
class NewJob:
    """A job about to be made; `fingerprint` and `key_expires_at` count only with a `key`."""

    id: UUID
    tenant: UUID
    registry: int
    kind: str
    input: str
    input_hash: bytes
    metadata: dict[str, object]
    salt: bytes
    max_attempts: int
    at: datetime
    route: str
    key: str | None
    fingerprint: bytes
    key_expires_at: datetime


@dataclass(frozen=True)
class UsedKey:
    """What an idempotency key was used for: the request's fingerprint and the job it made."""

    fingerprint: bytes
    job_id: UUID | None


async def insert_job(conn: AsyncConnection[TupleRow], new: NewJob) -> Job | None:
    """Make a job with its ticket and first event; None where its idempotency key is taken."""
    async with conn.cursor(row_factory=job_row) as cursor:
        await cursor.execute(_SUBMIT, vars(new) | {"metadata": Jsonb(new.metadata)})
        return await cursor.fetchone()


async def used_key(conn: AsyncConnection[TupleRow], tenant: UUID, route: str, key: str) -> UsedKey | None:
    """Give what a key was used for."""
    async with conn.cursor(row_factory=class_row(UsedKey)) as cursor:
        await cursor.execute(
            "SELECT fingerprint, job_id FROM idempotency_keys WHERE tenant_id = %s AND route = %s AND key = %s",
            [tenant, route, key],
        )
        return await cursor.fetchone()


async def job(conn: AsyncConnection[TupleRow], job_id: UUID) -> Job | None:
    """Give a job that the current tenant may see."""
    async with conn.cursor(row_factory=job_row) as cursor:
        await cursor.execute(_JOBS + "WHERE j.id = %s", [job_id])
        return await cursor.fetchone()


async def jobs(
    conn: AsyncConnection[TupleRow],
    tenant: UUID,
    *,
    state: JobState | None,
    kind: str | None,
    before: UUID | None,
    limit: int,
) -> list[Job]:
    """Give a tenant's jobs, newest first, from below the id `before`."""
    async with conn.cursor(row_factory=job_row) as cursor:
        await cursor.execute(
            _JOBS
            + """WHERE j.tenant_id = %(tenant)s
                   AND (%(state)s::text IS NULL OR j.state = %(state)s)
                   AND (%(kind)s::text IS NULL OR j.kind = %(kind)s)
                   AND (%(before)s::uuid IS NULL OR j.id < %(before)s)
                 ORDER BY j.id DESC LIMIT %(limit)s""",
            {
                "tenant": tenant,
                "state": state and state.value,
                "kind": kind,
                "before": before,
                "limit": limit,
            },
        )
        return await cursor.fetchall()


async def owned_blobs(conn: AsyncConnection[TupleRow], tenant: UUID, hashes: Collection[bytes]) -> set[bytes]:
    """Give those of the hashes that name blobs of this tenant."""
    cursor = await conn.execute(
        "SELECT hash FROM blob_owners WHERE tenant_id = %s AND hash = ANY(%s::bytea[])",
        [tenant, list(hashes)],
    )
    return {row[0] for row in await cursor.fetchall()}


async def own_blob(
    conn: AsyncConnection[TupleRow], tenant: UUID, stored: StoredBlob, media_type: str, at: datetime
) -> None:
    """Write down that a stored blob exists and that a tenant may name it."""
    await conn.execute(
        "INSERT INTO blobs (hash, size, created_at) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        [stored.hash, stored.size, at],
    )
    await conn.execute(
        """INSERT INTO blob_owners (tenant_id, hash, media_type, created_at) VALUES (%s, %s, %s, %s)
           ON CONFLICT DO NOTHING""",
        [tenant, stored.hash, media_type, at],
    )


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
