"""What a transaction pays: EIP-1559 fees from the market, their bump, and gas limits. Amounts are in wei."""

from dataclasses import dataclass

from relayer.chain.rpc import JsonRpc

GWEI = 10**9

_HISTORY_BLOCKS = 10
_MEDIAN = 50
_MIN_TIP = GWEI // 1000
_MAX_TIP = 100 * GWEI
# EIP-7623: a transaction pays at least this much for its call data.
_BASE_GAS = 21_000
_FLOOR_GAS_ZERO_BYTE = 10
_FLOOR_GAS_NONZERO_BYTE = 40


@dataclass(frozen=True)
class Fee:
    """The two fee fields of a type-2 transaction (EIP-1559), per unit of gas."""

    max_fee: int
    max_tip: int


@dataclass(frozen=True)
class Market:
    """What the next block asks for: its base fee, and the tip that others pay."""

    base_fee: int
    tip: int


class Fees:
    """The fee policy of one chain.

    Args:
        rpc: the node whose fee history is read.
        cap: the highest fee per unit of gas that is ever signed.

    """

    def __init__(self, rpc: JsonRpc, cap: int) -> None:
        self._rpc = rpc
        self.cap = cap

    async def market(self) -> Market:
        """Read the market: the mean of the median tips of ten blocks, without blocks that paid none."""
        history = await self._rpc.call("eth_feeHistory", (hex(_HISTORY_BLOCKS), "latest", [_MEDIAN]))
        try:
            base_fee = int(history["baseFeePerGas"][-1], 16)
            tips = [int(reward[0], 16) for reward in history.get("reward") or []]
        except (IndexError, KeyError, TypeError, ValueError):
            raise self._rpc.nonsense("eth_feeHistory was answered with something that is none") from None
        paid = [tip for tip in tips if tip > 0]
        mean = sum(paid) // len(paid) if paid else 0
        return Market(base_fee, min(max(mean, _MIN_TIP), _MAX_TIP))

    def first(self, market: Market) -> Fee | None:
        """The fee of a new transaction, good for twice the next base fee; None if the cap forbids to send at all."""
        if market.base_fee + market.tip > self.cap:
            return None
        return self.capped(market)

    def capped(self, market: Market) -> Fee:
        """The fee for a nonce that is already taken: the market's, but never more than the cap."""
        max_fee = min(market.tip + 2 * market.base_fee, self.cap)
        return Fee(max_fee, min(market.tip, max_fee))

    def bump(self, old: Fee, market: Market) -> Fee | None:
        """The fee that replaces a stuck transaction's; None if the cap forbids it.

        Nodes want a tenth more in both fields; an eighth more satisfies all of them.
        """
        max_fee = max(_an_eighth_more(old.max_fee), market.tip + 2 * market.base_fee)
        max_tip = max(_an_eighth_more(old.max_tip), market.tip)
        if _an_eighth_more(old.max_fee) > self.cap or max_tip > self.cap:
            return None
        return Fee(min(max_fee, self.cap), max_tip)


def gas_limit(estimate: int, calldata: bytes) -> int:
    """A fifth more than the estimate, and never below what the call data cost (EIP-7623)."""
    zeros = calldata.count(0)
    floor = _BASE_GAS + _FLOOR_GAS_ZERO_BYTE * zeros + _FLOOR_GAS_NONZERO_BYTE * (len(calldata) - zeros)
    return max(-(-estimate * 6 // 5), floor)


def _an_eighth_more(amount: int) -> int:
    return -(-amount * 9 // 8)
