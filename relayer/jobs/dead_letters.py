"""What tenants do with dead letters: look at failed jobs, and give them another turn."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from relayer.jobs import dead_letter_repository as repository
from relayer.jobs.dead_letter_repository import DeadLetterFilter, KeyUse, Redrive
from relayer.jobs.records import Job
from relayer.jobs.submission import KEY_LIFETIME
from relayer.model.clock import Clock
from relayer.model.errors import IdempotencyKeyReusedError
from relayer.model.ids import new_id
from relayer.store.database import Database

REDRIVE_ROUTE = "POST /v1/dead-letters:redrive"


@dataclass(frozen=True)
class Redriven:
    """What was asked; `replayed` where an earlier request with the same key asked it."""

    redrive: Redrive
    replayed: bool


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

    async def count(self, wanted: DeadLetterFilter) -> int:
        """Give how many failed jobs a filter names by now."""
        async with self._db.transaction(wanted.tenant_id) as conn:
            return await repository.count(conn, wanted)

    async def redrive(
        self,
        wanted: DeadLetterFilter,
        *,
        actor: str,
        rate: int,
        idempotency_key: str | None,
        fingerprint: bytes,
    ) -> Redriven:
        """Ask for another turn for all that a filter names and that has failed by now, `rate` jobs a second.

        The row that asks is the audit record too; the relayer carries it out. The same key with the same fingerprint
        (32 bytes that differ for different requests) asks once.

        Raises:
            IdempotencyKeyReusedError: the key came before with another fingerprint.
            UnavailableError: the database is away; nothing was asked.

        """
        at = self._clock()
        key = KeyUse(REDRIVE_ROUTE, idempotency_key, fingerprint, at + KEY_LIFETIME)
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
                job_ids=None if wanted.job_ids is None else [*wanted.job_ids],
                rate=rate,
                matched=await repository.count(conn, wanted),
                redriven=0,
                created_at=at,
                next_run_at=at,
                finished_at=None,
            )
            if await repository.insert_redrive(conn, redrive, key):
                return Redriven(redrive, replayed=False)
            used = await repository.used_key(conn, wanted.tenant_id, key, at)
            assert used is not None
            if used[0] != fingerprint:
                assert idempotency_key is not None
                raise IdempotencyKeyReusedError(idempotency_key)
            earlier = await repository.redrive(conn, wanted.tenant_id, used[1])
            assert earlier is not None
            return Redriven(earlier, replayed=True)

    async def get_redrive(self, tenant: UUID, redrive_id: UUID) -> Redrive | None:
        """Give a redrive of this tenant, or None."""
        async with self._db.transaction(tenant) as conn:
            return await repository.redrive(conn, tenant, redrive_id)
