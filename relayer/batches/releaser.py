"""Gives the jobs of released batches back, so that they are sealed again."""

from uuid import UUID

import structlog

from relayer.batches import desk_repository
from relayer.batches.leaving import move_some
from relayer.chain.ledger import LEASE
from relayer.model.clock import Clock
from relayer.model.lifecycle import JobState
from relayer.store import leases
from relayer.store.database import Database

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
            # What dies between two transactions goes on with the rest.
            moved = await move_some(
                conn,
                batch_id,
                JobState.COMPLETED,
                actor="sender",
                at=now,
                details={"released_batch": str(batch_id)},
            )
            if not moved:
                await desk_repository.set_returned(conn, batch_id, now)
                _log.info("batch_returned", batch=str(batch_id))
        return moved
