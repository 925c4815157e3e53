"""A pool with geth's rules before a node that has others.

anvil takes any replacement with a higher maximum fee, refuses what pays less than the base fee and throws it out when the
base fee rises past it, and does not take transactions back that a reorganisation has freed. geth wants a tenth more in
both fees, keeps what is priced out, and takes such transactions back.
Source: go-ethereum, core/txpool/legacypool (`PriceBump` 10).
"""

from dataclasses import dataclass
from typing import Any

from faultproxy.answers import SEND
from faultproxy.calls import Answer, Call, Forward, error
from faultproxy.transactions import Transaction, read

PRICE_BUMP = 10
_PRICED_OUT = ("base fee", "underpriced")
_KNOWN = "already imported"


class GethPool:
    """A fault that is none: the pool of a real node. One pool stands before one node.

    `settle` is to be called before a block is made; it offers the node what the pool holds.
    """

    def __init__(self, node: Forward) -> None:
        self._node = node
        self._held: dict[tuple[str, int], Transaction] = {}

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        if call.method == "eth_getTransactionByHash":
            return await self._find(call, forward)
        if call.method != SEND:
            return await forward(call)
        offered = read(call.params[0])
        if offered.nonce < await self._nonce(offered.sender):
            return await forward(call)
        if refusal := self._refusal(offered):
            return error(-32000, refusal)
        answer = await forward(call)
        if "error" in answer and not _would_be_kept(answer["error"]["message"]):
            return answer
        self._held[offered.sender, offered.nonce] = offered
        return {"result": offered.hash}

    def _refusal(self, offered: Transaction) -> str | None:
        held = self._held.get((offered.sender, offered.nonce))
        if held is None or _pays_more(offered, held):
            return None
        return "already known" if held.hash == offered.hash else "replacement transaction underpriced"

    @property
    def held(self) -> list[Transaction]:
        """Everything it has taken and not forgotten, mined or not."""
        return list(self._held.values())

    def forget(self) -> None:
        """Forget every transaction, as a node does that restarts or whose pool overflows."""
        self._held.clear()

    async def settle(self) -> None:
        """Offer the node what is not mined, lowest nonce first; what it refuses for its price stays."""
        nonces = {
            sender: await self._nonce(sender) for sender in sorted({sender for sender, _ in self._held})
        }
        for sender, nonce in sorted(self._held):
            if nonce >= nonces[sender]:
                await self._node(Call(SEND, (self._held[sender, nonce].raw,)))

    async def _nonce(self, sender: str) -> int:
        answer = await self._node(Call("eth_getTransactionCount", (sender, "latest")))
        return int(answer["result"], 16)

    async def _find(self, call: Call, forward: Forward) -> Answer:
        answer = await forward(call)
        if answer.get("result") is None:
            held = next((one for one in self._held.values() if one.hash == call.params[0]), None)
            return {"result": held and _pending(held)}
        return answer


def _pays_more(offered: Transaction, held: Transaction) -> bool:
    return all(
        new * 100 >= old * (100 + PRICE_BUMP)
        for new, old in ((offered.max_fee, held.max_fee), (offered.max_tip, held.max_tip))
    )


def _would_be_kept(message: str) -> bool:
    return _KNOWN in message.lower() or any(text in message.lower() for text in _PRICED_OUT)


def _pending(held: Transaction) -> dict[str, Any]:
    return {
        "hash": held.hash,
        "from": held.sender,
        "nonce": hex(held.nonce),
        "maxFeePerGas": hex(held.max_fee),
        "maxPriorityFeePerGas": hex(held.max_tip),
        "blockHash": None,
        "blockNumber": None,
    }


@dataclass(frozen=True)
class FeeCap:
    """A node that hands on no transaction whose whole fee may be more; in wei. Source: go-ethereum, `--rpc.txfeecap`."""

    cap: int

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        if call.method != SEND:
            return await forward(call)
        offered = read(call.params[0])
        if (fee := offered.gas * offered.max_fee) <= self.cap:
            return await forward(call)
        ether = 10**18
        return error(
            -32000,
            f"tx fee ({fee / ether:.2f} ether) exceeds the configured cap ({self.cap / ether:.2f} ether)",
        )
