"""The market of a chain with base fees (EIP-1559)."""

from dataclasses import dataclass
from typing import Any

from relayer.chain.fee import GWEI, DynamicFee, Fee, Keep, replacing
from relayer.chain.rpc import JsonRpc

_HISTORY_BLOCKS = 10
_PERCENTILES = (50, 85)
_MIN_TIP = GWEI // 1000
_MAX_TIP = 100 * GWEI


@dataclass(frozen=True)
class DynamicMarket:
    """The base fee of the next block, and the tips of the last ones.

    `tip` is the mean of the blocks' medians; `high_tip` what 85 % of no block exceed, None where nobody tipped.
    """

    base_fee: int
    tip: int
    high_tip: int | None

    @property
    def ask(self) -> int:
        """The base fee and the tip of the others."""
        return self.base_fee + self.tip

    @property
    def fair(self) -> int:
        """Room for the base fee to double, as it can in six blocks."""
        return 2 * self.base_fee + self.tip

    def bid(self, ceiling: int) -> DynamicFee:
        """Give the market's fee, under the ceiling."""
        max_fee = min(self.fair, ceiling)
        return DynamicFee(max_fee, min(self.tip, max_fee))

    def bump(self, old: Fee, ceiling: int, *, refused: bool) -> DynamicFee | Keep:
        """Give both fields an eighth more, or what the market asks if that is more."""
        if not refused and (reason := self._suffices(old)):
            return reason
        least = replacing(old.max_fee)
        if least > ceiling:
            return Keep.CAPPED
        max_tip = max(replacing(old.max_tip), self.tip)
        max_fee = min(max(least, 2 * self.base_fee + max_tip), ceiling)
        return DynamicFee(max_fee, min(max_tip, max_fee))

    def _suffices(self, fee: Fee) -> Keep | None:
        room = fee.max_fee - self.tip
        if fee.max_tip >= self.tip and 4 * room >= 5 * self.base_fee:
            return Keep.PAID
        if self.high_tip is not None and fee.max_tip > self.high_tip and room >= self.base_fee:
            return Keep.IMPLAUSIBLE
        return None


async def read_dynamic_market(rpc: JsonRpc) -> DynamicMarket:
    """Read the market from the fee history of ten blocks; blocks in which nobody tipped say nothing of tips.

    Raises:
        RpcUnavailableError: no answer, or one that is no fee history.
        RpcError: the node refuses to tell.

    """
    history = await rpc.call("eth_feeHistory", (hex(_HISTORY_BLOCKS), "latest", list(_PERCENTILES)))
    try:
        base_fee = int(history["baseFeePerGas"][-1], 16)
        medians, high = (_tips(history, column) for column in range(len(_PERCENTILES)))
    except (IndexError, KeyError, TypeError, ValueError):
        raise rpc.nonsense("eth_feeHistory was answered with something that is none") from None
    mean = sum(medians) // len(medians) if medians else 0
    return DynamicMarket(base_fee, min(max(mean, _MIN_TIP), _MAX_TIP), max(high, default=None))


def _tips(history: Any, column: int) -> list[int]:
    tips = (int(reward[column], 16) for reward in history.get("reward") or [])
    return [tip for tip in tips if tip > 0]
