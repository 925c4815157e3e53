"""Forgets revoked tokens that have ended by themselves; a part of the janitor's pass."""

from datetime import timedelta

from relayer.model.clock import Clock
from relayer.store.database import Database
from relayer.tenants import token_repository as repository

_PAGE = 1000
# Clocks of processes differ.
_MARGIN = timedelta(hours=1)


class TokenCollector:
    """Keeps the list of revoked tokens as short as tokens live."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def run_pass(self, _: int) -> int:
        """Delete a page; give how many, 0 where no more is left. Two processes that do so do no harm.

        Raises:
            UnavailableError: the database is away.

        """
        async with self._db.transaction() as conn:
            count = await repository.forget_expired(conn, self._clock() - _MARGIN, _PAGE)
        return count if count == _PAGE else 0
