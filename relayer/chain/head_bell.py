"""Being told of new blocks by WebSocket (`eth_subscribe`, `newHeads`), so that nobody waits for the next poll.

Only the bell is taken from it, never data: what was missed while the line was down, or was told twice or in the wrong
order, costs nothing. A subscription can fall silent without the line breaking; that shows when polling finds blocks that
were not announced.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from relayer.model.breaker import Monotonic

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_OPEN_WITHIN_S = 10.0
# How long polling may find blocks that are not announced before the line is taken for dead.
_SILENCE_S = 30.0
_MAX_MESSAGE_BYTES = 1 << 20

_SUBSCRIBE = orjson.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
).decode()

_log = structlog.get_logger()


class HeadBell:
    """Rings an event whenever a node tells of a new block.

    Args:
        url: ws or wss address; messages name it without path, query and credentials.
        rung: is set at every announcement, and when the line is up again.
        silence: for how many seconds a line may announce nothing while polling finds blocks.
        clock: gives the seconds by which silence is measured.

    Raises:
        ValueError: `url` is no ws or wss address.

    """

    def __init__(
        self, url: str, rung: asyncio.Event, *, silence: float = _SILENCE_S, clock: Monotonic = time.monotonic
    ) -> None:
        self.address = _address(url)
        self._url = url
        self._rung = rung
        self._silence = silence
        self._clock = clock
        self._heard = clock()
        self._connection: ClientConnection | None = None

    async def listen(self) -> None:
        """Listen for ever; a line that breaks is made anew, after a pause that doubles while it fails."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                async with connect(
                    self._url, open_timeout=_OPEN_WITHIN_S, max_size=_MAX_MESSAGE_BYTES
                ) as connection:
                    self._connection = connection
                    await connection.send(_SUBSCRIBE)
                    pause = _FIRST_PAUSE_S
                    async for _ in connection:
                        # The first message is the answer to the subscription: blocks may have come before it.
                        self._heard = self._clock()
                        self._rung.set()
                reason = "closed"
            except (OSError, TimeoutError, WebSocketException) as error:
                reason = type(error).__name__
            self._connection = None
            _log.warning("head_bell_lost", node=self.address, reason=reason, again_after=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def found(self, blocks: int) -> None:
        """Note that polling found so many new blocks; a line that announced none for too long is made anew."""
        if not blocks or self._connection is None or self._clock() - self._heard < self._silence:
            return
        _log.warning("head_bell_silent", node=self.address)
        self._heard = self._clock()
        with suppress(WebSocketException):
            await self._connection.close()


def _address(url: str) -> str:
    """Give what may be shown of a WebSocket address."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0:
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    except ValueError:
        pass
    raise ValueError("JOBSEAL_CHAIN_WS_URLS: expected addresses such as ws://127.0.0.1:8545")


@dataclass(frozen=True)
class HeadBells:
    """The bells of several nodes, which ring one event."""

    bells: Sequence[HeadBell]
    rung: asyncio.Event

    def watching(self, run_pass: Callable[[int], Awaitable[int]]) -> Callable[[int], Awaitable[int]]:
        """Let a pass, which gives how many blocks it found, tell the bells what they should have announced."""

        async def watched(epoch: int) -> int:
            blocks = await run_pass(epoch)
            for bell in self.bells:
                await bell.found(blocks)
            return blocks

        return watched
