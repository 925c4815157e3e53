"""Deletes what was counted for quotas of periods that are long over; a part of the janitor's pass."""

from datetime import UTC, timedelta

from relayer.jobs import quota_repository
from relayer.jobs.blob_collector import LEASE
from relayer.model.clock import Clock
from relayer.store import leases
from relayer.store.database import Database

KEPT = timedelta(days=70)
"""From the first day of a period: a month and the one after it, for which thresholds are still told, and a week."""

_PAGE = 1000


class CounterCollector:
    """Keeps the counters of quotas as few as there are tenants, not as many as there were days."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def run_pass(self, epoch: int) -> int:
        """Delete a page; give how many, 0 where no more is left.

        Raises:
            LeaseLostError: another process leads; nothing was deleted.
            UnavailableError: the database is away.

        """
        before = (self._clock() - KEPT).astimezone(UTC).date()
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            count = await quota_repository.forget_periods(conn, before, _PAGE)
        return count if count >= _PAGE else 0
