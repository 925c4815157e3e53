"""The market of a chain that takes transactions in the order in which they come, and has no pool of those that wait.

Arbitrum: whoever pays the base fee is taken at once, a tip buys nothing, and what was refused is nowhere and replaces nothing.
"""

from dataclasses import dataclass

from relayer.chain.fee import DynamicFee, Fee, Keep, replacing
from relayer.chain.rpc import JsonRpc


@dataclass(frozen=True)
class FirstComeMarket:
    """The base fee of the next block."""

    base_fee: int

    @property
    def ask(self) -> int:
        """The base fee."""
        return self.base_fee

    @property
    def fair(self) -> int:
        """Room for the base fee to double."""
        return 2 * self.base_fee

    def bid(self, ceiling: int) -> DynamicFee:
        """Give the market's fee, under the ceiling, without a tip."""
        return DynamicFee(min(self.fair, ceiling), 0)

    def bump(self, old: Fee, ceiling: int, *, refused: bool) -> DynamicFee | Keep:
        """Give the market's fee where the old one does not pay the base fee any more; a node's refusal asks for an eighth more."""
        if old.max_fee >= self.ask and not refused:
            return Keep.PAID
        wanted = max(self.fair, replacing(old.max_fee)) if refused else self.fair
        max_fee = min(wanted, ceiling)
        return DynamicFee(max_fee, 0) if max_fee > old.max_fee else Keep.CAPPED


async def read_first_come_market(rpc: JsonRpc) -> FirstComeMarket:
    """Read the base fee.

    Raises:
        RpcUnavailableError: no answer, or one that is no fee history.
        RpcError: the node refuses to tell.

    """
    history = await rpc.call("eth_feeHistory", ("0x1", "latest", []))
    try:
        return FirstComeMarket(int(history["baseFeePerGas"][-1], 16))
    except (IndexError, KeyError, TypeError, ValueError):
        raise rpc.nonsense("eth_feeHistory was answered with something that is none") from None
