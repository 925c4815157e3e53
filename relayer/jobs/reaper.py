"""Finds attempts whose worker fell silent, and jobs that have waited too long."""

from relayer.jobs import attempt_repository as attempts
from relayer.jobs.attempt_repository import ExpiredJob
from relayer.jobs.records import LostAttempt
from relayer.jobs.transition import Change, transition
from relayer.model.clock import Clock
from relayer.model.lifecycle import JobState
from relayer.settings import ReaperSettings
from relayer.store import leases
from relayer.store.database import Database

LEASE = "reaper"
_LIMIT = 200


class Reaper:
    """Ends expired leases, so that the worker that held one can write nothing from then on, and expired waits."""

    def __init__(self, db: Database, settings: ReaperSettings, clock: Clock) -> None:
        self._db = db
        self._settings = settings
        self._clock = clock

    async def run_pass(self, epoch: int) -> int:
        """End leases and waits that ran out, up to a limit each; give how many.

        In two transactions, because each locks attempts before jobs.

        Raises:
            LeaseLostError: another process leads; no more was written.
            UnavailableError: the database is away.

        """
        at = self._clock()
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            lost = await attempts.reap(conn, at, _LIMIT)
            await transition(conn, [self._after_loss(one) for one in lost], at)
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            expired = await attempts.expired(conn, at, _LIMIT)
            if expired:
                await attempts.withdraw(conn, [one.id for one in expired], at)
                await transition(conn, [_after_wait(one) for one in expired], at)
        return len(lost) + len(expired)

    def _after_loss(self, lost: LostAttempt) -> Change:
        target, error = JobState.CREATED, None
        if lost.losses >= self._settings.max_losses:
            message = (
                f"the worker was lost {lost.losses} times while it ran this job; it may exhaust its memory"
            )
            target, error = JobState.FAILED, _error("worker_lost", message, lost.number)
        return Change(
            lost.job_id,
            lost.job_version,
            JobState.PROCESSING,
            target,
            actor="reaper",
            reason="worker_lost",
            details={"attempt": lost.number} | ({} if error is None else {"error": error}),
            error=error,
        )


def _after_wait(job: ExpiredJob) -> Change:
    code = "total_limit" if job.is_total else "queue_limit"
    message = (
        "the job did not come to an end within its total limit"
        if job.is_total
        else f"the job waited longer than {job.waited} for its turn"
    )
    error = _error(code, message, job.attempt)
    return Change(
        job.id,
        job.state_version,
        JobState.CREATED,
        JobState.FAILED,
        actor="reaper",
        reason=code,
        details={"error": error},
        error=error,
    )


def _error(code: str, message: str, attempt: int) -> dict[str, object]:
    return {"code": code, "message": message, "retryable": False, "attempt": attempt}
