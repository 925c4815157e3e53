"""All SQL of jobs whose tickets are spent for somebody else."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import BaseRowFactory, TupleRow, kwargs_row

from relayer.model.ids import new_id
from relayer.model.lifecycle import JobState

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
    SELECT id, 1, tenant_id, 'created', %(actor)s, 'queued', created_at FROM again
)
INSERT INTO active_queues AS q (tenant_id, kind, priority, due_at)
SELECT tenant_id, kind, priority, run_at FROM again
ON CONFLICT (tenant_id, kind, priority) DO UPDATE SET due_at = least(q.due_at, excluded.due_at), looks = 0
"""


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


async def spent_elsewhere(conn: Connection, registry_id: int, words: Collection[int]) -> dict[int, int]:
    """Give the masks of the tickets that others have spent in final blocks, by word."""
    cursor = await conn.execute(
        "SELECT index, mask FROM external_words WHERE registry_id = %s AND index = ANY(%s)",
        [registry_id, list(words)],
    )
    masks: dict[int, int] = {}
    for index, mask in await cursor.fetchall():
        masks[index] = masks.get(index, 0) | int.from_bytes(mask)
    return masks


async def run_again(conn: Connection, job_id: UUID, salt: bytes, actor: str, at: datetime) -> None:
    """Make a new job of an old one, with a ticket and a salt of its own."""
    await conn.execute(_RUN_AGAIN, {"id": new_id(), "salt": salt, "job": job_id, "actor": actor, "at": at})
