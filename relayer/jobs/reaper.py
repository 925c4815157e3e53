"""Finds attempts whose worker fell silent, and gives their jobs another turn."""

from relayer.jobs import attempt_repository as attempts
from relayer.jobs.records import LostAttempt
from relayer.jobs.transition import Change, transition
from relayer.model.clock import Clock
from relayer.model.lifecycle import JobState
from relayer.settings import DispatcherSettings
from relayer.store import leases
from relayer.store.database import Database

LEASE = "reaper"
_LIMIT = 200


class Reaper:
    """Ends expired leases; the worker that held one can write nothing from then on."""

    def __init__(self, db: Database, settings: DispatcherSettings, clock: Clock) -> None:
        self._db = db
        self._settings = settings
        self._clock = clock

    async def run_pass(self, epoch: int) -> int:
        """End every lease that ran out; give how many.

        Raises:
            LeaseLostError: another process leads; nothing was written.
            UnavailableError: the database is away.

        """
        at = self._clock()
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            lost = await attempts.reap(conn, at, _LIMIT)
            await transition(conn, [self._change(one) for one in lost], at)
        return len(lost)

    def _change(self, lost: LostAttempt) -> Change:
        if lost.losses < self._settings.max_crashes:
            target, error = JobState.CREATED, None
        else:
            target, error = (
                JobState.FAILED,
                {
                    "code": "worker_lost",
                    "message": f"the worker died {lost.losses} times while it ran this job",
                    "retryable": False,
                    "attempt": lost.number,
                },
            )
        return Change(
            lost.job_id,
            lost.job_version,
            JobState.PROCESSING,
            target,
            actor="reaper",
            reason="worker_lost",
            error=error,
        )
