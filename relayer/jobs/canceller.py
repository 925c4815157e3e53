"""Carries out cancellations that tenants asked for.

A job that waits is cancelled at once. Of one that runs the worker learns within a second and lets its handler come
to an end; where nothing came of that in time, the attempt is ended here: its worker can write nothing any more, and
is told to stop.
"""

from datetime import timedelta

from relayer.jobs import attempt_repository as attempts
from relayer.jobs.attempt_repository import CancelledJob
from relayer.jobs.handlers.base import Mode
from relayer.jobs.queue import JobQueue
from relayer.jobs.transition import Change, transition
from relayer.model.clock import Clock
from relayer.model.lifecycle import JobState
from relayer.settings import ReaperSettings
from relayer.store import leases
from relayer.store.database import Database

LEASE = "canceller"
_LIMIT = 200


class Canceller:
    """Ends jobs that are to be cancelled."""

    def __init__(self, db: Database, queue: JobQueue, settings: ReaperSettings, clock: Clock) -> None:
        self._db = db
        self._queue = queue
        self._force_after: timedelta = settings.force_cancel_after
        self._clock = clock

    async def run_pass(self, epoch: int) -> int:
        """Cancel what waits, and by force what did not end by itself; give how many.

        Raises:
            LeaseLostError: another process leads; nothing was written.
            UnavailableError: a store is away. A stop that was not sent is no loss: the worker finds its lease gone.

        """
        at = self._clock()
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            ended = await attempts.end_cancelled(
                conn, at=at, force_before=at - self._force_after, limit=_LIMIT
            )
            moved = await transition(conn, [_change(one) for one in ended], at)
        forced = [one for one in ended if one.state is JobState.PROCESSING and one.job_id in moved]
        for one in forced:
            # An inline attempt shares its queue job with others; its worker's own check ends it.
            if one.mode is Mode.ISOLATED and one.queue_job_id is not None:
                await self._queue.stop(one.queue_job_id)
        return len(moved)


def _change(job: CancelledJob) -> Change:
    forced = job.state is JobState.PROCESSING
    return Change(
        job.job_id,
        job.state_version,
        job.state,
        JobState.CANCELLED,
        actor="canceller",
        reason="cancel_forced" if forced else "cancel_requested",
    )
