"""All SQL of rebuilding: what of a batch the database already has, and what it gets back."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches.manifest import JobRecord
from relayer.seal.commitment import JobConfirmation

Connection = AsyncConnection[TupleRow]


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
