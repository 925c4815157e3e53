"""How many jobs of a tenant may wait: counted from rows, and remembered for a moment."""

import time
from dataclasses import dataclass
from uuid import UUID

from relayer.jobs import submission_repository as repository
from relayer.store.database import Database

_MEMORY_S = 1.0
# A full room is looked at again sooner.
_FULL_MEMORY_S = 0.1


@dataclass
class _Count:
    at: float
    waiting: int
    cap: int

    def has_room(self, wanted: int) -> bool:
        return self.waiting + wanted <= self.cap


class WaitingRoom:
    """Says how many more jobs a tenant may submit.

    A count costs as much as jobs wait, so it is made once a second a tenant, and what this process has let in since
    is added. With several API processes a tenant may pass its cap by what the others let in within that second.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._counts: dict[UUID, _Count] = {}

    async def enter(self, tenant: UUID, wanted: int) -> tuple[int, int]:
        """Give how many of the wanted jobs may wait, which count as waiting from now on, and the tenant's cap."""
        now = time.monotonic()
        count = self._counts.get(tenant)
        if count is None or now - count.at > (_MEMORY_S if count.has_room(wanted) else _FULL_MEMORY_S):
            async with self._db.transaction(tenant) as conn:
                count = _Count(now, *await repository.count_waiting(conn, tenant))
            self._counts[tenant] = count
            self._forget_old(now)
        let_in = max(0, min(wanted, count.cap - count.waiting))
        count.waiting += let_in
        return let_in, count.cap

    def _forget_old(self, now: float) -> None:
        for tenant in [one for one, count in self._counts.items() if now - count.at > _MEMORY_S]:
            del self._counts[tenant]
