"""How jobs leave a batch that they are confirmed in: for good when it is final, back again when it is released."""

from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import repository
from relayer.jobs.transition import Change, transition
from relayer.model.lifecycle import JobState

# Bounds the size of one statement.
_CHUNK = 2_000


async def move_some(
    conn: AsyncConnection[TupleRow],
    batch_id: UUID,
    target: JobState,
    *,
    actor: str,
    at: datetime,
    details: dict[str, Any] | None = None,
) -> int:
    """Move some of the jobs of a batch from `confirming` to `target`; give how many, 0 when there are none left."""
    jobs = await repository.lock_confirming(conn, batch_id, _CHUNK)
    won = await transition(
        conn,
        [
            Change(
                job_id=job_id,
                version=version,
                source=JobState.CONFIRMING,
                target=target,
                actor=actor,
                details=details,
            )
            for job_id, version in jobs
        ],
        at,
    )
    assert len(won) == len(jobs), "a job moved while its row was locked"
    return len(won)
