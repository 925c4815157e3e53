"""The fee policy of a chain: which market it has, and how much may be paid at most. Amounts are in wei."""

from dataclasses import dataclass
from enum import StrEnum

from relayer.chain.dynamic_market import read_dynamic_market
from relayer.chain.fee import GWEI, Market
from relayer.chain.legacy_market import read_legacy_market
from relayer.chain.rpc import JsonRpc
from relayer.settings import FeeKind

_MARKET_MULTIPLE = 5
# Where fees are next to nothing, a multiple of them is no sign of anything wrong.
_NEXT_TO_NOTHING = GWEI
_BALANCE_SHARE = 2


class Limit(StrEnum):
    """What sets a ceiling: the operator's cap, five times the market, or half the balance."""

    CAP = "cap"
    MARKET = "market"
    BALANCE = "balance"


@dataclass(frozen=True)
class Ceiling:
    """The highest fee that may be signed now for a unit of gas, and what sets it."""

    amount: int
    limit: Limit


class Fees:
    """The fee policy of one chain.

    Args:
        cap: the highest fee for a unit of gas that is ever signed.
        kind: how the chain takes fees; `auto` looks at its latest header.

    """

    def __init__(self, cap: int, kind: FeeKind = "auto") -> None:
        self.cap = cap
        self._kind = kind

    async def market(self, rpc: JsonRpc) -> Market:
        """Read the market from a node.

        Raises:
            RpcUnavailableError: no answer, or one that makes no sense.
            RpcError: the node refuses to tell.

        """
        if await self._has_base_fee(rpc):
            return await read_dynamic_market(rpc)
        return await read_legacy_market(rpc)

    def ceiling(self, market: Market, *, gas: int, balance: int) -> Ceiling:
        """Give what a transaction of so much gas may pay for a unit, from an account with so much."""
        return min(
            Ceiling(self.cap, Limit.CAP),
            Ceiling(max(_MARKET_MULTIPLE * market.fair, _NEXT_TO_NOTHING), Limit.MARKET),
            Ceiling(balance // _BALANCE_SHARE // gas, Limit.BALANCE),
            key=lambda ceiling: ceiling.amount,
        )

    def most(self, market: Market) -> int:
        """Give the most that is paid for a unit of gas as the market is, from an account that can pay anything."""
        return min(self.cap, max(_MARKET_MULTIPLE * market.fair, _NEXT_TO_NOTHING))

    async def _has_base_fee(self, rpc: JsonRpc) -> bool:
        if self._kind != "auto":
            return self._kind == "eip1559"
        header = await rpc.call("eth_getBlockByNumber", ("latest", False))
        if not isinstance(header, dict):
            raise rpc.nonsense("eth_getBlockByNumber was answered with something that is none")
        return header.get("baseFeePerGas") is not None
