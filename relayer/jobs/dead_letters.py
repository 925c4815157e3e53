"""What tenants do with dead letters: look at failed jobs, and give them another turn."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from relayer.jobs import dead_letter_repository as repository
from relayer.jobs.dead_letter_repository import DeadLetterFilter, Redrive
from relayer.jobs.records import Job
from relayer.model.clock import Clock
from relayer.model.ids import new_id
from relayer.store.database import Database


class DeadLetterService:
    """The failed jobs of tenants, in the role of the API."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def list(
        self, wanted: DeadLetterFilter, before: tuple[datetime, UUID] | None, limit: int
    ) -> list[Job]:
        """Give failed jobs, the last to fail first, from below the (time, id) `before`."""
        async with self._db.transaction(wanted.tenant_id) as conn:
            return await repository.dead_letters(conn, wanted, before=before, limit=limit)

    async def redrive(self, wanted: DeadLetterFilter, *, actor: str, rate: int, dry_run: bool) -> Redrive:
        """Ask for another turn for all that a filter names and that has failed by now, `rate` jobs a second.

        The row that asks is the audit record too; the relayer carries it out. A dry run only counts and writes
        nothing.

        Raises:
            UnavailableError: the database is away; nothing was asked.

        """
        at = self._clock()
        until = at if wanted.failed_to is None else min(at, wanted.failed_to)
        wanted = replace(wanted, failed_to=until)
        async with self._db.transaction(wanted.tenant_id) as conn:
            redrive = Redrive(
                id=new_id(),
                tenant_id=wanted.tenant_id,
                actor=actor,
                kind=wanted.kind,
                error_code=wanted.error_code,
                failed_from=wanted.failed_from,
                failed_to=until,
                job_ids=None if wanted.job_ids is None else list(wanted.job_ids),
                rate=rate,
                matched=await repository.count(conn, wanted),
                redriven=0,
                created_at=at,
                next_run_at=at,
                finished_at=None,
            )
            if not dry_run:
                await repository.insert_redrive(conn, redrive)
        return redrive

    async def get_redrive(self, tenant: UUID, redrive_id: UUID) -> Redrive | None:
        """Give a redrive of this tenant, or None."""
        async with self._db.transaction(tenant) as conn:
            return await repository.redrive(conn, redrive_id)
