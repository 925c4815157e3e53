"""The market of a chain without base fees."""

from dataclasses import dataclass

from relayer.chain.fee import Fee, Keep, LegacyFee, replacing
from relayer.chain.rpc import JsonRpc


@dataclass(frozen=True)
class LegacyMarket:
    """The gas price that the node suggests."""

    gas_price: int

    @property
    def ask(self) -> int:
        """The suggested price: nothing says what less would do."""
        return self.gas_price

    @property
    def fair(self) -> int:
        """The suggested price."""
        return self.gas_price

    def bid(self, ceiling: int) -> LegacyFee:
        """Give the suggested price, under the ceiling."""
        return LegacyFee(min(self.gas_price, ceiling))

    def bump(self, old: Fee, ceiling: int, *, refused: bool) -> LegacyFee | Keep:
        """Give an eighth more, or the suggested price if that is more."""
        if not refused and 4 * old.max_fee >= 5 * self.gas_price:
            return Keep.PAID
        least = replacing(old.max_fee)
        if least > ceiling:
            return Keep.CAPPED
        return LegacyFee(min(max(least, self.gas_price), ceiling))


async def read_legacy_market(rpc: JsonRpc) -> LegacyMarket:
    """Read the market.

    Raises:
        RpcUnavailableError: no answer, or one that is no price.
        RpcError: the node refuses to tell.

    """
    answer = await rpc.call("eth_gasPrice")
    try:
        return LegacyMarket(int(answer, 16))
    except (TypeError, ValueError):
        raise rpc.nonsense("eth_gasPrice was answered with something that is none") from None
