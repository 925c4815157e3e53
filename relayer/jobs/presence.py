"""Says in the database that a pool of workers lives, so that a waiting job can say when nothing could run it."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import psycopg

from relayer.jobs import worker_repository as repository
from relayer.jobs.handlers.base import Mode
from relayer.jobs.worker_repository import Pool
from relayer.model.clock import Clock
from relayer.model.ids import new_id
from relayer.settings import DatabaseSettings

_EVERY = timedelta(seconds=5)
_LIFETIME = timedelta(seconds=15)


class Presence:
    """Announces one pool every few seconds; without news it counts as gone after 15 s."""

    def __init__(
        self, settings: DatabaseSettings, name: str, processes: Mapping[Mode, int], clock: Clock
    ) -> None:
        self._url = settings.url.get_secret_value()
        self._pool = Pool(new_id(), name, {mode: count for mode, count in processes.items() if count})
        self._clock = clock
        self._next: datetime | None = None

    def announce(self) -> None:
        """Say that the pool lives, where it was not said just now."""
        at = self._clock()
        if self._next is not None and at < self._next:
            return
        self._next = at + _EVERY
        self._tell(at)

    def withdraw(self) -> None:
        """Say that the pool takes no more work."""
        self._tell(None)

    def _tell(self, at: datetime | None) -> None:
        """An absent database is no trouble of its own here: what lives is announced again soon."""
        try:
            with psycopg.connect(self._url, connect_timeout=2) as connection:
                if at is None:
                    repository.remove(connection, self._pool.id)
                else:
                    repository.announce(connection, self._pool, _LIFETIME, at)
        except psycopg.OperationalError:
            return
