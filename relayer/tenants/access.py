"""What an API process remembers of who may come in, and how it stays true."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from uuid import UUID

import structlog

from relayer.model.clock import Clock, utc_now
from relayer.model.errors import UnavailableError
from relayer.settings import DatabaseSettings, KeySettings, TokenSettings
from relayer.store.database import Database
from relayer.store.doorbell import Listener
from relayer.tenants.authenticator import Authenticator
from relayer.tenants.key_cache import KeyCache
from relayer.tenants.last_used import LastUsed
from relayer.tenants.refusals import Refusals
from relayer.tenants.revocations import RevokedTokens
from relayer.tenants.signing import SigningKeys
from relayer.tenants.token_service import TokenService

CHANNEL = "jobseal_access"

# Where no news comes; with the time of a query, well below what a revocation may take.
_LOOK_EVERY = timedelta(seconds=20)
_TRY_AGAIN = timedelta(seconds=1)
_WRITE_EVERY = timedelta(seconds=10)

# How long a task may take to notice that it is cancelled.
_CANCEL_AGAIN_S = 0.1

_log = structlog.get_logger(__name__)


class Access:
    """The check of keys and tokens, with a memory that is kept true by news and by time."""

    def __init__(
        self,
        db: Database,
        database: DatabaseSettings,
        keys: KeySettings,
        tokens: TokenSettings,
        clock: Clock = utc_now,
    ) -> None:
        self._cache = KeyCache()
        self._last_used = LastUsed(db)
        self._refusals = Refusals(db, clock)
        self._signing = SigningKeys(db, tokens, clock)
        self._revoked = RevokedTokens(db, clock)
        self._changed = asyncio.Event()
        self._listener = Listener(database, CHANNEL, heard=self.hear, missed=self._forget)
        self.tokens = TokenService(db, tokens, self._signing, self._revoked, clock)
        self.authenticator = Authenticator(
            db,
            keys,
            clock,
            tokens=self.tokens,
            cache=self._cache,
            last_used=self._last_used,
            refusals=self._refusals,
        )

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Listen, look, and write down what was used, inside the block."""
        tasks = [
            asyncio.create_task(self._listener.listen(), name="news of access"),
            asyncio.create_task(self._look(), name="signing keys and revoked tokens"),
            asyncio.create_task(self._write(), name="last use and refusals of keys"),
        ]
        try:
            yield
        finally:
            await _ended(tasks)
            await _done(self._last_used.write)
            await _done(partial(self._refusals.write, everything=True))

    def hear(self, news: str) -> None:
        """Forget what is no longer so: `key <id>`, `tenant <id>`, or the name of a table to look at."""
        kind, _, name = news.partition(" ")
        try:
            if kind == "key":
                self._cache.drop_key(UUID(name))
            elif kind == "tenant":
                self._cache.drop_tenant(UUID(name))
            else:
                self._changed.set()
        except ValueError:
            self._forget()

    def _forget(self) -> None:
        self._cache.clear()
        self._changed.set()

    async def _look(self) -> None:
        while True:
            self._changed.clear()
            good = await _done(self._signing.refresh) and await _done(self._revoked.refresh)
            pause = _LOOK_EVERY if good else _TRY_AGAIN
            with suppress(TimeoutError):
                async with asyncio.timeout(pause.total_seconds()):
                    await self._changed.wait()

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_EVERY.total_seconds())
            await _done(self._last_used.write)
            await _done(self._refusals.write)


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: `asyncio.wait_for`, which drivers wait with, may swallow a cancellation."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)


async def _done(work: Callable[[], Awaitable[None]]) -> bool:
    """Do something in the background: an absent database is met again, a mistake is said and ends nothing."""
    try:
        await work()
    except UnavailableError:
        return False
    except Exception:  # noqa: BLE001 - what is kept is kept as long as the process lives
        _log.exception("access_not_kept")
        return False
    return True
