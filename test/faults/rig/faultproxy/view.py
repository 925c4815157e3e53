"""The chain as a node sees it that is behind, or whose finality is not the chain's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from faultproxy.calls import Answer, Call, Forward, error

_BLOCK_PARAMETER = {
    "eth_call": 1,
    "eth_estimateGas": 1,
    "eth_feeHistory": 1,
    "eth_getBalance": 1,
    "eth_getBlockByNumber": 0,
    "eth_getBlockReceipts": 0,
    "eth_getBlockTransactionCountByNumber": 0,
    "eth_getCode": 1,
    "eth_getStorageAt": 2,
    "eth_getTransactionCount": 1,
}
_BLOCKS = {"eth_getBlockByNumber", "eth_getBlockByHash"}
_MINED = {"eth_getTransactionReceipt", "eth_getTransactionByHash"}
_FINAL = {"finalized", "safe"}

Rename = Callable[[str], str]
"""Gives what stands for a tag of a block."""


def _renamed(call: Call, rename: Rename) -> Call:
    """Replace the tags that a call names its blocks by."""
    if call.method == "eth_getLogs":
        query = dict(call.params[0])
        for name in ("fromBlock", "toBlock"):
            if name in query:
                query[name] = rename(query[name])
        return Call(call.method, (query,))
    place = _BLOCK_PARAMETER.get(call.method)
    if place is None:
        return call
    params = [*call.params, "latest"] if len(call.params) == place else list(call.params)
    if isinstance(params[place], str):
        params[place] = rename(params[place])
    return Call(call.method, tuple(params))


def _names_final(call: Call) -> bool:
    named = call.params[0].values() if call.method == "eth_getLogs" else call.params
    return any(one in _FINAL for one in named if isinstance(one, str))


async def _height(forward: Forward, tag: str) -> int:
    answer = await forward(Call("eth_getBlockByNumber", (tag, False)))
    return int(answer["result"]["number"], 16)


class Finality:
    """Finality as deep as wanted: `depth` blocks behind the head, and never above `ceiling`.

    A ceiling stalls it; a depth that grows, or a ceiling that falls, lets it go back.
    """

    def __init__(self, depth: int, ceiling: int | None = None) -> None:
        self.depth = depth
        self.ceiling = ceiling

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        final = hex(await self.height(forward)) if _names_final(call) else ""
        return await forward(_renamed(call, lambda tag: final if tag in _FINAL else tag))

    async def height(self, forward: Forward) -> int:
        """Give the height of the finalized block."""
        height = max(0, await _height(forward, "latest") - self.depth)
        return height if self.ceiling is None else min(height, self.ceiling)


@dataclass
class Lag:
    """A node that has not seen the last blocks. Logs of blocks that it does not know are no logs, as on many real nodes."""

    blocks: int

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        head = max(0, await _height(forward, "latest") - self.blocks)
        if call.method == "eth_blockNumber":
            return {"result": hex(head)}
        final = min(head, max(0, await _height(forward, "finalized") - self.blocks))
        heights = {"latest": hex(head), "pending": hex(head), "finalized": hex(final), "safe": hex(final)}
        seen = _renamed(call, lambda tag: heights.get(tag, tag))
        if call.method == "eth_getLogs":
            return await self._logs(seen, head, forward)
        place = _BLOCK_PARAMETER.get(call.method)
        if place is not None and _above(seen.params[place], head):
            return {"result": None} if call.method in _BLOCKS else error(-32000, "header not found")
        return _without(call.method, await forward(seen), head)

    @staticmethod
    async def _logs(call: Call, head: int, forward: Forward) -> Answer:
        query = dict(call.params[0])
        if "blockHash" in query:
            block = await forward(Call("eth_getBlockByHash", (query["blockHash"], False)))
            if block.get("result") is None or _above(block["result"]["number"], head):
                return error(-32000, "unknown block")
            return await forward(call)
        if _above(query.get("fromBlock"), head):
            return {"result": []}
        if _above(query.get("toBlock", hex(head + 1)), head):
            query["toBlock"] = hex(head)
        return await forward(Call(call.method, (query,)))


def _without(method: str, answer: Answer, head: int) -> Answer:
    """Take out of an answer what lies above the head."""
    result = answer.get("result")
    if not isinstance(result, dict):
        return answer
    if method in _BLOCKS and _above(result["number"], head):
        return {"result": None}
    if method in _MINED and _above(result.get("blockNumber"), head):
        return {"result": None}
    return answer


def _above(height: Any, head: int) -> bool:
    return isinstance(height, str) and height.startswith("0x") and int(height, 16) > head
