"""Gives dead letters another turn, as tenants asked: so many a second, each only shortly before its time.

A redriven job keeps its id, its ticket and its history; what it failed of before counts against no budget.
"""

from datetime import datetime, timedelta
from math import ceil
from uuid import UUID

from relayer.jobs import dead_letter_repository as repository
from relayer.jobs.dead_letter_repository import Letter, Redrive
from relayer.jobs.transition import Change, transition
from relayer.model.clock import Clock
from relayer.model.ids import to_public
from relayer.model.lifecycle import JobState
from relayer.store import leases
from relayer.store.database import Database

LEASE = "redriver"
# Waiting jobs count against their tenant's cap, so a letter begins to wait only so long before its turn.
_AHEAD = timedelta(seconds=5)
# A redrive is carried on when its next turn is as near as this: not for every single letter.
_REFILL_WITHIN = timedelta(seconds=2)
_LIMIT = 500
# Keeps a pass shorter than the lease.
_TURNS = 20


class Redriver:
    """Carries out the redrives that are open, in turn over their tenants."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._last_tenant: UUID | None = None

    async def run_pass(self, epoch: int) -> int:
        """Move the dead letters whose time comes within the next few seconds; give how many.

        Their times to run are spread by the redrive's rate. A redrive is over when nothing that it asks for is left.

        Raises:
            LeaseLostError: another process leads; no more was written.
            UnavailableError: the database is away.

        """
        count = 0
        for _ in range(_TURNS):
            moved = await self._turn(epoch)
            if moved is None:
                break
            count += moved
        return count

    async def _turn(self, epoch: int) -> int | None:
        """Carry on with one redrive of the next tenant; give how many letters it moved, None where none is due."""
        at = self._clock()
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            redrive = await repository.next_due(conn, at + _REFILL_WITHIN, self._last_tenant)
            if redrive is None:
                return None
            # Also where this goes wrong: the others have their turns.
            self._last_tenant = redrive.tenant_id
            start = max(at, redrive.next_run_at)
            limit = min(_LIMIT, ceil((at + _AHEAD - start).total_seconds() * redrive.rate))
            # One more tells whether this is the end.
            found = await repository.letters_of(conn, redrive, limit + 1)
            letters = found[:limit]
            changes = [
                _change(redrive, one, start + timedelta(seconds=number / redrive.rate))
                for number, one in enumerate(letters)
            ]
            moved = await transition(conn, changes, at)
            await repository.note_progress(
                conn,
                redrive,
                moved=len(moved),
                last=letters[-1] if letters else None,
                next_run_at=start + timedelta(seconds=len(letters) / redrive.rate),
                finished_at=at if len(found) <= limit else None,
            )
        return len(letters)


def _change(redrive: Redrive, letter: Letter, run_at: datetime) -> Change:
    return Change(
        letter.job_id,
        letter.version,
        JobState.FAILED,
        JobState.CREATED,
        actor=redrive.actor,
        reason="redriven",
        details={"redrive": to_public("rdr", redrive.id)},
        run_at=run_at,
    )
