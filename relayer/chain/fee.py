"""What a transaction pays for a unit of gas, and what a market says about it. Amounts are in wei.

Another kind of fee is added by its record here, a `Market` that prices it, its case in `Fees.market`, which reads that
market, and its fields in `transaction.py`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

GWEI = 10**9


@dataclass(frozen=True)
class DynamicFee:
    """The two fee fields of a type-2 transaction (EIP-1559)."""

    max_fee: int
    max_tip: int


@dataclass(frozen=True)
class LegacyFee:
    """The one fee field of a transaction without a type.

    Where it meets dynamic fees it counts as one whose two fields are both the gas price (EIP-1559).
    """

    gas_price: int

    @property
    def max_fee(self) -> int:
        """The most that a unit of gas costs."""
        return self.gas_price

    @property
    def max_tip(self) -> int:
        """The most of it that the maker of the block gets."""
        return self.gas_price


Fee = DynamicFee | LegacyFee


class Keep(StrEnum):
    """Why a stuck transaction keeps its fee and is sent again as it is."""

    CAPPED = "capped"
    """What nodes want of a replacement is above the ceiling."""
    PAID = "paid"
    """It pays what the market asks, so it is not the fee that it waits for."""
    IMPLAUSIBLE = "implausible"
    """It pays more than nearly everyone and is not mined: rather is the node wrong than the fee."""


class Market(Protocol):
    """What the next block asks for, and the fees that follow from it."""

    @property
    def ask(self) -> int:
        """The least for which the next block takes a transaction."""

    @property
    def fair(self) -> int:
        """What is bid where no ceiling is near: enough for several full blocks to come."""

    def bid(self, ceiling: int) -> Fee:
        """Give the fee of a nonce that nothing was signed for yet; at most the ceiling, even where that is below `ask`."""

    def bump(self, old: Fee, ceiling: int, *, refused: bool) -> Fee | Keep:
        """Give the fee that replaces a stuck transaction's, or why it keeps its own.

        A new fee is higher, where there is a pool by at least an eighth in both fields, and at most the ceiling. With
        `refused`, because a node did not take the old one, it is also given where the market asks for no more.
        """


def replacing(amount: int) -> int:
    """Give the least that replaces an amount: nodes want a tenth more, and an eighth more satisfies all of them."""
    return max(-(-amount * 9 // 8), amount + 1)
