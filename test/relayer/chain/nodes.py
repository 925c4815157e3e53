"""Nodes that are not quite honest: each hands on to a real one what it does not spoil."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from relayer.chain.rpc import JsonRpc, Request, RpcError, RpcUnavailableError

_TIMEOUT = timedelta(seconds=20)


class SayingRpc(JsonRpc):
    """Refuses the next transactions in given words; `refused` has their bytes."""

    def __init__(self, url: str, *texts: str) -> None:
        super().__init__(url, _TIMEOUT)
        self.texts = list(texts)
        self.refused: list[str] = []

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        if method == "eth_sendRawTransaction" and self.texts:
            self.refused.append(params[0])
            raise RpcError(self.address, method, {"code": -32000, "message": self.texts.pop(0)})
        return await super().call(method, params)


class ThriftyRpc(JsonRpc):
    """Estimates too little gas for everything."""

    def __init__(self, url: str, gas: int) -> None:
        super().__init__(url, _TIMEOUT)
        self.gas = gas

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        if method == "eth_estimateGas":
            return hex(self.gas)
        return await super().call(method, params)


class SleepingRpc(JsonRpc):
    """Holds back the transactions that it is given until it is woken."""

    def __init__(self, url: str) -> None:
        super().__init__(url, _TIMEOUT)
        self.holds = asyncio.Event()
        self.wakes = asyncio.Event()

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        if method == "eth_sendRawTransaction":
            self.holds.set()
            await self.wakes.wait()
        return await super().call(method, params)


class AheadRpc(JsonRpc):
    """Says that the account's next nonce is a later one."""

    def __init__(self, url: str, ahead: int) -> None:
        super().__init__(url, _TIMEOUT)
        self._ahead = ahead

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        answers = await super().batch(requests)
        return [
            hex(int(answer, 16) + self._ahead)
            if method == "eth_getTransactionCount" and params[1] == "latest"
            else answer
            for (method, params), answer in zip(requests, answers, strict=True)
        ]


class ForgetfulRpc(JsonRpc):
    """Does not say whether it has receipts."""

    def __init__(self, url: str) -> None:
        super().__init__(url, _TIMEOUT)

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        if any(method == "eth_getTransactionReceipt" for method, _ in requests):
            raise RpcUnavailableError(f"{self.address}: it is indexing")
        return await super().batch(requests)
