"""The fee policy of a chain: which market it has, and how much may be paid at most. Amounts are in wei."""

from dataclasses import dataclass
from enum import StrEnum

from relayer.chain.dynamic_market import read_dynamic_market
from relayer.chain.fee import GWEI, Market
from relayer.chain.first_come_market import read_first_come_market
from relayer.chain.legacy_market import read_legacy_market
from relayer.chain.op_stack import read_cost_beside_gas
from relayer.chain.pace import FIRST_COME, POOLED
from relayer.chain.rpc import JsonRpc
from relayer.chain.transaction import TransactionFields
from relayer.settings import FeeKind, Rollup

_MARKET_MULTIPLE = 5
# Where fees are next to nothing, a multiple of them is no sign of anything wrong.
_NEXT_TO_NOTHING = GWEI
_BALANCE_SHARE = 2


class Limit(StrEnum):
    """What sets a ceiling: the operator's cap, five times the market, half the balance, or the cap of the nodes."""

    CAP = "cap"
    NODE = "node"
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
        rollup: of which kind the chain is, where it is one.

    Attributes:
        pace: how soon what is not mined is replaced or sent again.

    """

    def __init__(self, cap: int, kind: FeeKind = "auto", rollup: Rollup = "none") -> None:
        self.cap = cap
        self._kind = kind
        self._rollup = rollup
        self.pace = FIRST_COME if rollup == "arbitrum" else POOLED

    async def market(self, rpc: JsonRpc) -> Market:
        """Read the market from a node.

        Raises:
            RpcUnavailableError: no answer, or one that makes no sense.
            RpcError: the node refuses to tell.

        """
        if self._rollup == "arbitrum":
            return await read_first_come_market(rpc)
        if await self._has_base_fee(rpc):
            return await read_dynamic_market(rpc)
        return await read_legacy_market(rpc)

    def ceiling(self, market: Market, *, gas: int, balance: int, node_cap: int | None = None) -> Ceiling:
        """Give what a transaction of so much gas may pay for a unit, from an account with so much.

        `node_cap` is what nodes take at most for the whole of it, where they named that.
        """
        ceilings = [
            Ceiling(self.cap, Limit.CAP),
            Ceiling(max(_MARKET_MULTIPLE * market.fair, _NEXT_TO_NOTHING), Limit.MARKET),
            Ceiling(balance // _BALANCE_SHARE // gas, Limit.BALANCE),
        ]
        if node_cap is not None:
            ceilings.append(Ceiling(node_cap // gas, Limit.NODE))
        return min(ceilings, key=lambda ceiling: ceiling.amount)

    def most(self, market: Market) -> int:
        """Give the most that is paid for a unit of gas as the market is, from an account that can pay anything."""
        return min(self.cap, max(_MARKET_MULTIPLE * market.fair, _NEXT_TO_NOTHING))

    async def beside_gas(self, rpc: JsonRpc, fields: TransactionFields) -> int:
        """Give what a transaction may cost beside its gas.

        Raises:
            RpcUnavailableError: no answer, or one that makes no sense.
            RpcError: the node refuses to tell.

        """
        return await read_cost_beside_gas(rpc, fields) if self._rollup == "op-stack" else 0

    async def _has_base_fee(self, rpc: JsonRpc) -> bool:
        if self._kind != "auto":
            return self._kind == "eip1559"
        header = await rpc.call("eth_getBlockByNumber", ("latest", False))
        if not isinstance(header, dict):
            raise rpc.nonsense("eth_getBlockByNumber was answered with something that is none")
        return header.get("baseFeePerGas") is not None
