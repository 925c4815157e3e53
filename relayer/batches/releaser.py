"""Gives the jobs of released batches back, so that they are sealed again."""

from uuid import UUID

import structlog

from relayer.batches import desk_repository, repository
from relayer.chain.ledger import LEASE
from relayer.jobs.transition import Change, transition
from relayer.model.clock import Clock
from relayer.model.lifecycle import JobState
from relayer.store import leases
from relayer.store.database import Database

# Bounds a transaction; what died between two of them goes on with the rest.
_CHUNK = 2_000

_log = structlog.get_logger(__name__)


class Releaser:
    """Moves the jobs of released batches from `confirming` to `completed`, under the sender's lease."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def run_pass(self, epoch: int) -> int:
        """Give back all jobs of all released batches.

        Returns:
            How many went back.

        Raises:
            UnavailableError: the database is away.
            LeaseLostError: another process leads.

        """
        async with self._db.transaction() as conn:
            batches = await desk_repository.returning(conn)
        done = 0
        for batch_id in batches:
            while moved := await self._return_some(batch_id, epoch):
                done += moved
        return done

    async def _return_some(self, batch_id: UUID, epoch: int) -> int:
        """Give back some jobs of a batch; 0 when there are none left, which is noted."""
        now = self._clock()
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            if not await desk_repository.lock_released(conn, batch_id):
                return 0
            jobs = await repository.lock_confirming(conn, batch_id, _CHUNK)
            if not jobs:
                await desk_repository.set_returned(conn, batch_id, now)
                _log.info("batch_returned", batch=str(batch_id))
                return 0
            won = await transition(
                conn,
                [
                    Change(
                        job_id=job_id,
                        version=version,
                        source=JobState.CONFIRMING,
                        target=JobState.COMPLETED,
                        actor="sender",
                        details={"released_batch": str(batch_id)},
                    )
                    for job_id, version in jobs
                ],
                now,
            )
            assert len(won) == len(jobs), "a job moved while its row was locked"
        return len(jobs)
