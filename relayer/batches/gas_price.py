"""What gas costs, for those who only have to know it about."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from relayer.chain.fee import Market
from relayer.chain.rpc import RpcError
from relayer.model.clock import Clock
from relayer.model.errors import UnavailableError

_EVERY = timedelta(seconds=12)
# Nobody waits longer for a price that only says whether waiting pays.
_WITHIN_S = 1.0


class GasPrice:
    """The price of the market that `ask` tells of, asked for about once a block."""

    def __init__(self, ask: Callable[[], Awaitable[Market]], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._price: int | None = None
        self._asked_at: datetime | None = None

    async def __call__(self) -> int | None:
        """Give what a unit of gas costs in the next block, in wei; None where nobody says."""
        now = self._clock()
        if self._asked_at is None or now - self._asked_at >= _EVERY:
            self._asked_at = now
            try:
                async with asyncio.timeout(_WITHIN_S):
                    self._price = (await self._ask()).ask
            except (UnavailableError, RpcError, TimeoutError):
                self._price = None
        return self._price
