"""Chains without the `finalized` tag: there a block counts as final when so many blocks lie above it.

Which rule holds is a setting of the chain. A chain that has the tag is never judged by depth because its tag stands
still: that would turn a halt of finality into confirmations that can be taken back.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from relayer.chain.rpc import JsonRpc, Request

_TAG = "finalized"


class DepthFinalRpc(JsonRpc):
    """A node's JSON-RPC interface on which `finalized` means the block `depth` below the latest.

    The requests of one exchange mean the same block by it.
    """

    def __init__(self, url: str, timeout: timedelta, depth: int) -> None:
        super().__init__(url, timeout)
        self._depth = depth

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        """Give the `result` of one call; raises as `JsonRpc.call` does."""
        if _TAG not in params:
            return await super().call(method, params)
        return await super().call(method, _at(await self._final_height(), params))

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        """Give the results of several calls; raises as `JsonRpc.batch` does."""
        if not any(_TAG in params for _, params in requests):
            return await super().batch(requests)
        height = await self._final_height()
        return await super().batch([(method, _at(height, params)) for method, params in requests])

    async def _final_height(self) -> str:
        answer = await super().call("eth_blockNumber")
        try:
            return hex(max(0, int(answer, 16) - self._depth))
        except (TypeError, ValueError):
            raise self.nonsense("eth_blockNumber was answered with something that is none") from None


def _at(height: str, params: Sequence[Any]) -> list[Any]:
    return [height if one == _TAG else one for one in params]
