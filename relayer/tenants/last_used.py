"""When keys were last used, to the minute: noted in memory, written together and never in a request's way."""

from datetime import datetime, timedelta
from uuid import UUID

from relayer.store.database import Database
from relayer.tenants import key_repository

_MINUTE = timedelta(minutes=1)


class LastUsed:
    """What this process has to tell of the use of keys: at most one row a key and minute."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._told: dict[UUID, datetime] = {}
        self._pending: dict[UUID, datetime] = {}

    def note(self, key_id: UUID, at: datetime) -> None:
        """Remember that a key was used."""
        minute = at.replace(second=0, microsecond=0)
        if self._told.get(key_id) != minute:
            self._told[key_id] = self._pending[key_id] = minute

    async def write(self) -> None:
        """Write what was noted since the last time; it stays noted where that fails.

        Raises:
            UnavailableError: the database is away.

        """
        pending, self._pending = self._pending, {}
        if not pending:
            return
        try:
            async with self._db.statement() as conn:
                await key_repository.touch_keys(conn, pending)
        except BaseException:
            self._pending = pending | self._pending
            raise
        newest = max(self._told.values())
        self._told = {key: minute for key, minute in self._told.items() if newest - minute <= _MINUTE}
