"""Which access tokens are revoked: the whole list, which is short as tokens are, in the memory of each API process."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from relayer.model.clock import Clock
from relayer.store.database import Database
from relayer.tenants import token_repository as repository

STALE_AFTER = timedelta(seconds=50)


class RevokedTokens:
    """The list as it was when this process last looked; older than `STALE_AFTER` it vouches for nothing."""

    def __init__(self, db: Database, clock: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._monotonic = monotonic
        self._looking = asyncio.Lock()
        self._looked_at: float | None = None
        self._ends: dict[UUID, datetime] = {}

    async def contains(self, jti: UUID) -> bool:
        """Whether a token is revoked.

        Raises:
            UnavailableError: the database is away, and what is remembered is too old to say.

        """
        if self._is_stale():
            async with self._looking:
                if self._is_stale():
                    await self.refresh()
        return jti in self._ends

    def add(self, jti: UUID, expires_at: datetime) -> None:
        """Remember what this process has revoked itself."""
        self._ends[jti] = expires_at

    async def refresh(self) -> None:
        """Look at the list.

        Raises:
            UnavailableError: the database is away.

        """
        began, now = self._monotonic(), self._clock()
        async with self._db.statement() as conn:
            ends = await repository.live(conn, now)
        # Nothing is ever taken back: what was added while this was read stays.
        self._ends = {jti: end for jti, end in self._ends.items() if end > now} | ends
        self._looked_at = began

    def _is_stale(self) -> bool:
        return self._looked_at is None or self._monotonic() - self._looked_at > STALE_AFTER.total_seconds()
