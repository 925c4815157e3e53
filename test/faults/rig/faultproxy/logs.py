"""Faults of what a node says of the past: logs, receipts, the hashes of their blocks, and how much may be asked at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from faultproxy.calls import Answer, Call, Forward, error

LOGS = "eth_getLogs"
RECEIPT = "eth_getTransactionReceipt"


@dataclass(frozen=True)
class AlteredLogs:
    """Logs are read, and then altered."""

    alter: Callable[[list[Any]], list[Any]]

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        answer = await forward(call)
        if call.method != LOGS or not answer.get("result"):
            return answer
        return {"result": self.alter(answer["result"])}


EMPTY_LOGS = AlteredLogs(lambda _: [])
PARTIAL_LOGS = AlteredLogs(lambda logs: logs[: len(logs) // 2])
DOUBLED_LOGS = AlteredLogs(lambda logs: [one for log in logs for one in (log, log)])
SHUFFLED_LOGS = AlteredLogs(lambda logs: logs[::-1])


@dataclass(frozen=True)
class WrongBlockHash:
    """Logs and receipts name a block that is not the one at their height."""

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        answer = await forward(call)
        result = answer.get("result")
        if call.method == LOGS and result:
            return {"result": [_moved(log) for log in result]}
        if call.method == RECEIPT and result:
            return {"result": _moved(result)}
        return answer


def _moved(item: dict[str, Any]) -> dict[str, Any]:
    flipped = hex(int(item["blockHash"], 16) ^ 1)
    return {**item, "blockHash": f"0x{flipped[2:]:0>64}"}


@dataclass(frozen=True)
class NoReceipts:
    """The node has the blocks and has not indexed their transactions."""

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        return {"result": None} if call.method == RECEIPT else await forward(call)


Dialect = Callable[[int, int], Answer]
"""Says that fewer blocks are to be asked for: given the first block, and how many may be asked for."""

DIALECTS: dict[str, Dialect] = {
    "alchemy": lambda first, most: error(
        -32602,
        "Log response size exceeded. You can make eth_getLogs requests with up to a "
        f"{most} block range. Based on your parameters and the response size limit, this block range should work: "
        f"[{hex(first)}, {hex(first + most - 1)}]",
    ),
    "infura": lambda _, __: error(-32005, "query returned more than 10000 results"),
    "quicknode": lambda _, most: error(-32614, f"eth_getLogs is limited to a {most:,} range"),
    "ankr": lambda _, __: error(-32600, "block range is too wide"),
    "reth": lambda _, most: error(-32602, f"query exceeds max block range {most}"),
    "erigon": lambda _, most: error(-32000, f"exceed maximum block range: {most}"),
}
"""How six kinds of nodes and providers word it, as their users report it."""


@dataclass(frozen=True)
class RangeLimit:
    """The node gives the logs of so many blocks at once, and no more."""

    blocks: int
    dialect: str

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        if call.method != LOGS or "blockHash" in call.params[0]:
            return await forward(call)
        first, last = (int(call.params[0][name], 16) for name in ("fromBlock", "toBlock"))
        if last - first >= self.blocks:
            return DIALECTS[self.dialect](first, self.blocks)
        return await forward(call)
