"""What an API process remembers of who may come in, and how it stays true."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import structlog

from relayer.model.clock import Clock, utc_now
from relayer.model.errors import UnavailableError
from relayer.settings import DatabaseSettings, KeySettings
from relayer.store.database import Database
from relayer.store.doorbell import Listener
from relayer.tenants.authenticator import Authenticator
from relayer.tenants.key_cache import KeyCache
from relayer.tenants.last_used import LastUsed

CHANNEL = "jobseal_access"

_WRITE_USE_EVERY = timedelta(seconds=10)

_log = structlog.get_logger(__name__)


class Access:
    """The check of keys, with a memory that is kept true by news and by time."""

    def __init__(
        self,
        db: Database,
        database: DatabaseSettings,
        keys: KeySettings,
        clock: Clock = utc_now,
        *,
        cache: KeyCache | None = None,
    ) -> None:
        self._cache = cache or KeyCache()
        self._last_used = LastUsed(db)
        self._listener = Listener(database, CHANNEL, heard=self.hear, missed=self._cache.clear)
        self.authenticator = Authenticator(db, keys, clock, cache=self._cache, last_used=self._last_used)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Listen, and write down what was used, inside the block."""
        tasks = [
            asyncio.create_task(self._listener.listen(), name="news of access"),
            asyncio.create_task(_repeat(self._last_used.write, _WRITE_USE_EVERY), name="last use of keys"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _try(self._last_used.write)

    def hear(self, news: str) -> None:
        """Forget what is no longer so: `key <id>`, `tenant <id>`; what is not understood may mean anything."""
        kind, _, name = news.partition(" ")
        try:
            if kind == "key":
                self._cache.drop_key(UUID(name))
            elif kind == "tenant":
                self._cache.drop_tenant(UUID(name))
        except ValueError:
            self._cache.clear()


async def _repeat(work: Callable[[], Awaitable[None]], every: timedelta) -> None:
    while True:
        await asyncio.sleep(every.total_seconds())
        await _try(work)


async def _try(work: Callable[[], Awaitable[None]]) -> None:
    """Work in the background: an absent database is met again next time, a mistake is said and ends nothing."""
    try:
        await work()
    except UnavailableError:
        pass
    except Exception:  # noqa: BLE001 - what is kept is kept as long as the process lives
        _log.exception("access_not_kept")
