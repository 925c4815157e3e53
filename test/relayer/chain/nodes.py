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
    """Says that the account's next nonce, by the latest block or the one of another tag, is a later one."""

    def __init__(self, url: str, ahead: int, tag: str = "latest") -> None:
        super().__init__(url, _TIMEOUT)
        self._ahead = ahead
        self._tag = tag

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        answers = await super().batch(requests)
        return [
            hex(int(answer, 16) + self._ahead)
            if method == "eth_getTransactionCount" and params[1] == self._tag
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


class FailingRpc(JsonRpc):
    """Says that every transaction that was mined reverted."""

    def __init__(self, url: str) -> None:
        super().__init__(url, _TIMEOUT)

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        answers = await super().batch(requests)
        return [
            answer | {"status": "0x0"} if method == "eth_getTransactionReceipt" and answer else answer
            for (method, _), answer in zip(requests, answers, strict=True)
        ]


class RefusingRpc(JsonRpc):
    """Refuses every call of a contract with an error of JSON-RPC."""

    def __init__(self, url: str, code: int, message: str) -> None:
        super().__init__(url, _TIMEOUT)
        self._error = {"code": code, "message": message}

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        if method == "eth_call":
            raise RpcError(self.address, method, self._error)
        return await super().call(method, params)


class ForkedRpc(JsonRpc):
    """A node of the same chain id that has other blocks from a height on, each with an event of the contract."""

    def __init__(self, url: str, address: bytes, first: int, topics: Sequence[bytes]) -> None:
        super().__init__(url, _TIMEOUT)
        self._address = f"0x{address.hex()}"
        self._first = first
        self._topics = [f"0x{topic.hex()}" for topic in topics]

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        return self._forked(method, params, await super().call(method, params))

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        answers = await super().batch(requests)
        return [self._forked(*request, answer) for request, answer in zip(requests, answers, strict=True)]

    def _forked(self, method: str, params: Sequence[Any], answer: Any) -> Any:
        if method == "eth_getLogs" and "toBlock" in params[0]:
            first, last = (int(params[0][name], 16) for name in ("fromBlock", "toBlock"))
            return answer + [self._log(height) for height in range(max(first, self._first), last + 1)]
        if (
            method == "eth_getBlockByNumber"
            and answer
            and (height := int(answer["number"], 16)) >= self._first
        ):
            parent = self._hash(height - 1) if height > self._first else answer["parentHash"]
            return answer | {"hash": self._hash(height), "parentHash": parent}
        return answer

    @staticmethod
    def _hash(height: int) -> str:
        return f"0x{height:064x}"

    def _log(self, height: int) -> dict[str, Any]:
        return {
            "address": self._address,
            "blockNumber": hex(height),
            "blockHash": self._hash(height),
            "transactionHash": self._hash(height),
            "logIndex": "0x0",
            "topics": self._topics,
            "data": "0x",
        }
