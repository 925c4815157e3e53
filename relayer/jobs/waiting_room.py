"""How many jobs of a tenant may wait: counted from rows, and remembered for a moment."""

import time
from dataclasses import dataclass
from uuid import UUID

from relayer.jobs import submission_repository as repository
from relayer.store.database import Database
from relayer.store.shared_look import SharedLook

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
        self._look = SharedLook[UUID, _Count]()
        self._forget_at = 0.0

    async def enter(self, tenant: UUID, wanted: int) -> tuple[int, int]:
        """Give how many of the wanted jobs may wait, which count as waiting from now on, and the tenant's cap."""
        now = time.monotonic()
        count = self._counts.get(tenant)
        if count is None or now - count.at > (_MEMORY_S if count.has_room(wanted) else _FULL_MEMORY_S):
            count = await self._look(tenant, lambda: self._count(tenant))
        let_in = max(0, min(wanted, count.cap - count.waiting))
        count.waiting += let_in
        return let_in, count.cap

    async def _count(self, tenant: UUID) -> _Count:
        now = time.monotonic()
        waiting, cap = await self._db.read(tenant, lambda conn: repository.count_waiting(conn, tenant))
        count = self._counts[tenant] = _Count(now, waiting, cap)
        self._forget_old(now)
        return count

    def _forget_old(self, now: float) -> None:
        if now < self._forget_at:
            return
        self._forget_at = now + _MEMORY_S
        for tenant in [one for one, count in self._counts.items() if now - count.at > _MEMORY_S]:
            del self._counts[tenant]
