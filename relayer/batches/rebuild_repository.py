"""All SQL of rebuilding: what of a batch the database already has, and what it gets back."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from psycopg.rows import BaseRowFactory, TupleRow, kwargs_row

from relayer.batches.manifest import JobRecord
from relayer.model.ids import new_id
from relayer.model.lifecycle import JobState
from relayer.seal.commitment import JobConfirmation

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True)
class Held:
    """A job that the database has, as it stands."""

    id: UUID
    state: JobState
    state_version: int
    ticket: int
    batch_id: UUID | None


def _from_row(**row: Any) -> Held:
    return Held(**row | {"state": JobState(row["state"])})


_held: BaseRowFactory[Held] = kwargs_row(_from_row)

_HELD = "SELECT id, state, state_version, ticket, batch_id FROM jobs WHERE registry_id = %s AND "

_ADD_TENANT = """
INSERT INTO tenants (id, name, created_at)
SELECT %(id)s, CASE WHEN EXISTS (SELECT FROM tenants WHERE name = %(name)s) THEN %(other)s ELSE %(name)s END, %(at)s
ON CONFLICT (id) DO NOTHING
"""

# What was asked for is not in a manifest: the input is gone, and the job cannot run again.
_ADD_JOB = """
INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, input, input_hash, metadata, salt, max_attempts,
                  run_at, output_hash, output_size, output_media_type, batch_id, created_at, result_ready_at)
VALUES (%(id)s, %(tenant)s, %(registry)s, %(ticket)s, %(kind)s, 'confirming', NULL, %(input_hash)s, %(metadata)s,
        %(salt)s, 1, %(created)s, %(output_hash)s, %(size)s, %(media_type)s, %(batch)s, %(created)s, %(ready)s)
"""

_ADD_EVENT = """
INSERT INTO job_events (job_id, seq, tenant_id, to_state, actor, occurred_at)
VALUES (%s, 1, %s, 'confirming', 'rebuild', %s)
"""

_SET_RESULT = """
UPDATE jobs SET output_hash = %s, output_size = %s, output_media_type = %s, result_ready_at = %s, ticket = %s
WHERE id = %s
"""

_RUN_AGAIN = """
WITH again AS (
    INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, priority, state, status_reason, input, input_hash,
                      metadata, salt, max_attempts, first_backoff, longest_backoff, retry_codes, queue_limit,
                      run_limit, total_limit, expires_at, run_at, rerun_of, created_at)
    SELECT %(id)s, tenant_id, registry_id, next_ticket(registry_id, (ticket >> 56)::smallint), kind, priority,
           'created', 'queued', input, input_hash, metadata, %(salt)s, max_attempts, first_backoff, longest_backoff,
           retry_codes, queue_limit, run_limit, total_limit,
           least(%(at)s + queue_limit, %(at)s + total_limit), %(at)s, id, %(at)s
    FROM jobs WHERE id = %(job)s
    RETURNING id, tenant_id, kind, priority, run_at, created_at
), event AS (
    INSERT INTO job_events (job_id, seq, tenant_id, to_state, actor, reason, occurred_at)
    SELECT id, 1, tenant_id, 'created', 'rebuild', 'queued', created_at FROM again
)
INSERT INTO active_queues AS q (tenant_id, kind, priority, due_at)
SELECT tenant_id, kind, priority, run_at FROM again
ON CONFLICT (tenant_id, kind, priority) DO UPDATE SET due_at = least(q.due_at, excluded.due_at), looks = 0
"""

_HIGHEST = """
SELECT ticket >> 56, max(ticket) FROM (
    SELECT ticket FROM jobs WHERE registry_id = %(registry)s
    UNION ALL SELECT l.ticket FROM batch_leaves l JOIN batches b ON b.id = l.batch_id WHERE b.registry_id = %(registry)s
) known GROUP BY 1
"""


async def batch_of(conn: Connection, registry_id: int, root: bytes) -> tuple[UUID, str] | None:
    """Give id and state of the batch with a root."""
    cursor = await conn.execute(
        "SELECT id, state FROM batches WHERE registry_id = %s AND root = %s", [registry_id, root]
    )
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1])


async def jobs_by_id(conn: Connection, registry_id: int, ids: Collection[UUID]) -> dict[UUID, Held]:
    """Give those of the jobs that the database has, locked."""
    async with conn.cursor(row_factory=_held) as cursor:
        await cursor.execute(_HELD + "id = ANY(%s) ORDER BY id FOR UPDATE", [registry_id, list(ids)])
        return {job.id: job for job in await cursor.fetchall()}


async def jobs_by_ticket(conn: Connection, registry_id: int, tickets: Collection[int]) -> list[Held]:
    """Give the jobs that hold any of the tickets, locked."""
    async with conn.cursor(row_factory=_held) as cursor:
        await cursor.execute(_HELD + "ticket = ANY(%s) ORDER BY id FOR UPDATE", [registry_id, list(tickets)])
        return await cursor.fetchall()


async def add_tenants(conn: Connection, names: Mapping[UUID, str], at: datetime) -> None:
    """Bring tenants back, on the default plan and without keys; one whose name is taken gets its id as its name."""
    async with conn.cursor() as cursor:
        await cursor.executemany(
            _ADD_TENANT,
            [
                {"id": tenant, "name": name, "other": f"restored-{tenant.hex}", "at": at}
                for tenant, name in names.items()
            ],
        )


async def add_jobs(
    conn: Connection,
    registry_id: int,
    batch_id: UUID,
    jobs: Iterable[tuple[JobConfirmation, JobRecord]],
    at: datetime,
) -> None:
    """Insert jobs of a batch that awaits its event."""
    rows = [
        {
            "id": UUID(bytes=one.job_id),
            "tenant": record.tenant_id,
            "registry": registry_id,
            "ticket": one.ticket,
            "kind": record.kind,
            "input_hash": one.input_hash,
            "metadata": orjson.dumps(dict(record.metadata)).decode(),
            "salt": one.salt,
            "created": record.created_at,
            "output_hash": one.output_hash,
            "size": record.output_size,
            "media_type": record.output_media_type,
            "batch": batch_id,
            "ready": record.result_ready_at,
        }
        for one, record in jobs
    ]
    async with conn.cursor() as cursor:
        await cursor.executemany(_ADD_JOB, rows)
        await cursor.executemany(_ADD_EVENT, [(row["id"], row["tenant"], at) for row in rows])


async def set_result(conn: Connection, one: JobConfirmation, record: JobRecord) -> None:
    """Give a job the result and the ticket that its leaf commits to."""
    await conn.execute(
        _SET_RESULT,
        [
            one.output_hash,
            record.output_size,
            record.output_media_type,
            record.result_ready_at,
            one.ticket,
            UUID(bytes=one.job_id),
        ],
    )


async def lose_attempts(conn: Connection, job_ids: Sequence[UUID], at: datetime) -> None:
    """End the attempts that the lost platform had in flight."""
    await conn.execute(
        """UPDATE attempts SET state = 'lost', finished_at = %s
           WHERE job_id = ANY(%s) AND state IN ('dispatched', 'running')""",
        [at, list(job_ids)],
    )


async def take_new_tickets(conn: Connection, job_ids: Sequence[UUID]) -> None:
    """Give jobs tickets that nobody ever had, so that theirs go to whom the chain has spent them for."""
    await conn.execute(
        """UPDATE jobs SET ticket = next_ticket(registry_id, (ticket >> 56)::smallint)
           WHERE id = ANY(%s)""",
        [list(job_ids)],
    )


async def run_again(conn: Connection, job_id: UUID, salt: bytes, at: datetime) -> None:
    """Make a new job of an old one, with a ticket and a salt of its own."""
    await conn.execute(_RUN_AGAIN, {"id": new_id(), "salt": salt, "job": job_id, "at": at})


async def highest_tickets(conn: Connection, registry_id: int) -> dict[int, int]:
    """Give the highest ticket that the database knows, by lane."""
    cursor = await conn.execute(_HIGHEST, {"registry": registry_id})
    return dict(await cursor.fetchall())


async def open_lane(conn: Connection, registry_id: int, lane: int) -> None:
    """Open the tickets of a lane, unless they are."""
    await conn.execute("SELECT open_ticket_lane(%s::smallint, %s::smallint)", [registry_id, lane])


async def leader_of(conn: Connection, name: str) -> str | None:
    """Say who leads a loop."""
    cursor = await conn.execute(
        "SELECT owner FROM leases WHERE name = %s AND expires_at > clock_timestamp()", [name]
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]
