"""The store that all processes share, Redis or Valkey: asked in one way, and left alone while it is away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from relayer.model.breaker import Breaker
from relayer.settings import RedisSettings
from relayer.store.database import server_address

T = TypeVar("T")

# A round trip takes a fraction of a millisecond. Whoever waits longer is better served by this process alone.
_TIMEOUT_S = 0.25
_REST_S = 1.0

_log = structlog.get_logger(__name__)


class SharedStore:
    """A client that answers None, at once, while the server is away.

    The first question without an answer opens the breaker; from then on a PING in the background asks once a second,
    so that a dead server costs no further request its time.
    """

    def __init__(self, settings: RedisSettings) -> None:
        url = settings.url.get_secret_value()
        self.address = server_address(url, default_port=6379)
        self.breaker = Breaker("redis", rest=_REST_S)
        self.breaker.listen(self._tell)
        self._redis = Redis.from_url(
            url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            # Once more for a connection that broke while it was idle; an answer that is late is not waited for again.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        self._probe: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        if self._probe is not None:
            # Its connection is the pool's again when it has ended, not when it was told to.
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        await self._redis.aclose()

    async def ask(self, question: Callable[[Any], Awaitable[T]]) -> T | None:
        """Ask the server; None where it is away."""
        if not self.breaker.is_closed:
            self._probe_when_due()
            return None
        try:
            answer = await question(self._redis)
        except (RedisError, OSError) as error:
            _log.warning("redis_unanswered", address=self.address, reason=type(error).__name__)
            self.breaker.failed()
            self._probe_when_due()
            return None
        self.breaker.succeeded()
        return answer

    def _probe_when_due(self) -> None:
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._ask_until_back())

    async def _ask_until_back(self) -> None:
        while not self.breaker.is_closed:
            await asyncio.sleep(self.breaker.seconds_to_probe)
            if not self.breaker.allows():
                continue
            try:
                await self._redis.ping()
            except (RedisError, OSError):
                self.breaker.failed()
            else:
                self.breaker.succeeded()

    def _tell(self, closed: bool) -> None:
        _log.warning("breaker", part="redis", closed=closed, address=self.address)


class Script:
    """A Lua script, sent by its hash, and in full where the server does not know it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._hash: str | None = None

    async def __call__(self, redis: Any, keys: list[str], args: list[Any]) -> Any:
        """Run it."""
        if self._hash is None:
            self._hash = await redis.script_load(self._text)
        try:
            return await redis.evalsha(self._hash, len(keys), *keys, *args)
        except NoScriptError:
            # The server was started anew, or its scripts were flushed.
            return await redis.eval(self._text, len(keys), *keys, *args)
