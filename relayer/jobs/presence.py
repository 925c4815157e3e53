"""Says in the database that a pool of workers lives, so that a waiting job can say when nothing could run it."""

import time
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import psycopg

from relayer.jobs import worker_repository as repository
from relayer.jobs.handlers.base import Mode
from relayer.jobs.worker_repository import Pool
from relayer.model.clock import Clock
from relayer.model.ids import new_id
from relayer.settings import DatabaseSettings

_CONNECT_TIMEOUT_S = 2


class Presence:
    """Announces one pool; without news it counts as gone after `lifetime`."""

    def __init__(
        self, settings: DatabaseSettings, name: str, *, every: timedelta, lifetime: timedelta, clock: Clock
    ) -> None:
        self._url = settings.url.get_secret_value()
        self._id: UUID = new_id()
        self._name = name
        self._every_s = every.total_seconds()
        self._lifetime = lifetime
        self._clock = clock
        self._said: Mapping[Mode, int] = {}
        self._next = float("-inf")

    def announce(self, processes: Mapping[Mode, int]) -> None:
        """Say how many workers of each mode live, where it changed or was not said just now."""
        if processes == self._said and time.monotonic() < self._next:
            return
        try:
            with psycopg.connect(self._url, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
                pool = Pool(self._id, self._name, {mode: count for mode, count in processes.items() if count})
                repository.announce(connection, pool, self._lifetime, self._clock())
        except psycopg.OperationalError:
            # Whether the database answers is told elsewhere; what lives is announced again soon.
            return
        self._said, self._next = dict(processes), time.monotonic() + self._every_s

    def withdraw(self) -> None:
        """Say that an announced pool takes no more work; where it cannot be said, the announcement expires."""
        if not self._said:
            return
        try:
            with psycopg.connect(self._url, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
                repository.remove(connection, self._id)
        except psycopg.OperationalError:
            return
