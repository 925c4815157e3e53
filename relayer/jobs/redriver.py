"""Gives dead letters another turn, as tenants asked: a part at a time, spread over time.

A redriven job keeps its id, its ticket and its history; what it failed of before counts against no budget.
"""

from datetime import datetime, timedelta
from uuid import UUID

from relayer.jobs import dead_letter_repository as repository
from relayer.jobs.dead_letter_repository import Redrive
from relayer.jobs.transition import Change, transition
from relayer.model.clock import Clock
from relayer.model.ids import to_public
from relayer.model.lifecycle import JobState
from relayer.store import leases
from relayer.store.database import Database

LEASE = "redriver"
_LIMIT = 500


class Redriver:
    """Carries out the redrives that are open, oldest first."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def run_pass(self, epoch: int) -> int:
        """Move up to a limit of dead letters of the oldest redrive; give how many.

        Their times to run are spread by the redrive's rate. A redrive is over when nothing that it asks for is left.

        Raises:
            LeaseLostError: another process leads; nothing was written.
            UnavailableError: the database is away.

        """
        at = self._clock()
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            redrive = await repository.oldest_open(conn)
            if redrive is None:
                return 0
            letters = await repository.letters_of(conn, redrive, _LIMIT)
            start = max(at, redrive.next_run_at)
            changes = [
                _change(redrive, job_id, version, start + timedelta(seconds=number / redrive.rate))
                for number, (job_id, version) in enumerate(letters)
            ]
            moved = await transition(conn, changes, at)
            next_run_at = start + timedelta(seconds=len(letters) / redrive.rate)
            await repository.note_progress(
                conn, redrive, len(moved), next_run_at, at if len(letters) < _LIMIT else None
            )
        return len(letters)


def _change(redrive: Redrive, job_id: UUID, version: int, run_at: datetime) -> Change:
    return Change(
        job_id,
        version,
        JobState.FAILED,
        JobState.CREATED,
        actor=redrive.actor,
        reason="redriven",
        details={"redrive": to_public("rdr", redrive.id)},
        run_at=run_at,
    )
