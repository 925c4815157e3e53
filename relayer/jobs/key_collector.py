"""Deletes idempotency keys whose time is over; a part of the janitor's pass."""

from datetime import timedelta

from relayer.jobs import key_repository
from relayer.jobs.blob_collector import LEASE
from relayer.model.clock import Clock
from relayer.store import leases
from relayer.store.database import Database

_PAGE = 1000
# Keeps a pass shorter than the lease.
_PAGES = 20
# A key counts for a request by the clock of the machine that serves it, which may be behind.
_MARGIN = timedelta(hours=1)


class KeyCollector:
    """Forgets what stands for requests that nobody repeats any more."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def run_pass(self, epoch: int) -> int:
        """Delete expired keys, a page a transaction.

        Returns:
            How many were deleted where more may be left, otherwise 0: what expires meanwhile can wait.

        Raises:
            LeaseLostError: another process leads; the pages before are deleted.
            UnavailableError: the database is away.

        """
        before = self._clock() - _MARGIN
        for _ in range(_PAGES):
            async with self._db.transaction() as conn:
                await leases.require(conn, LEASE, epoch)
                count = await key_repository.forget_expired(conn, before, _PAGE)
            if count < _PAGE:
                return 0
        return _PAGES * _PAGE
