"""Jobs whose tickets are spent on chain for somebody else: they can never be confirmed, and run again as new jobs."""

import secrets
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import burnt_repository as repository
from relayer.batches.burnt_repository import Held
from relayer.jobs.transition import Change, transition
from relayer.model.lifecycle import JobState
from relayer.seal.commitment import bit, word

_SPENT = {
    "code": "ticket_spent",
    "message": "the job's ticket is spent on chain under another root; the job runs again as a new one",
    "retryable": False,
}

_log = structlog.get_logger(__name__)


async def run_anew(
    conn: AsyncConnection[TupleRow], jobs: Sequence[Held], *, actor: str, at: datetime
) -> None:
    """Fail jobs, whose rows the caller has locked and none of which is at an end, and make a new job of each."""
    changes = [
        Change(
            job_id=job.id,
            version=job.state_version,
            source=job.state,
            target=JobState.FAILED,
            actor=actor,
            reason="ticket_spent",
            error=_SPENT,
        )
        for job in jobs
    ]
    moved = await transition(conn, changes, at)
    assert len(moved) == len(jobs), "a job moved while its row was locked"
    for job in jobs:
        await repository.run_again(conn, job.id, secrets.token_bytes(32), actor, at)


async def take_out(
    conn: AsyncConnection[TupleRow],
    registry_id: int,
    tickets: Collection[int],
    *,
    actor: str,
    at: datetime,
) -> set[UUID]:
    """Run those of finished jobs anew whose tickets somebody else has spent in a final block; give which.

    What was drawn or finished while the foreign batch was imported, or lay too far ahead to be skipped, is found so.
    """
    masks = await repository.spent_elsewhere(conn, registry_id, {word(ticket) for ticket in tickets})
    spent = [ticket for ticket in tickets if masks.get(word(ticket), 0) >> bit(ticket) & 1]
    jobs = [
        job
        for job in await repository.jobs_by_ticket(conn, registry_id, spent)
        if job.state is JobState.COMPLETED
    ]
    if jobs:
        await run_anew(conn, jobs, actor=actor, at=at)
        _log.critical("tickets_burnt", registry=registry_id, tickets=len(jobs))
    return {job.id for job in jobs}
