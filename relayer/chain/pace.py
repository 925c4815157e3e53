"""How soon the sender looks again after a transaction that is not mined."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Pace:
    """When a transaction counts as stuck, and when its bytes are sent again.

    Attributes:
        stuck_after: the patience for the first transaction of a nonce.
        stuck_after_blocks: so many blocks end it too; None: their number says nothing.
        factor: how much longer the patience is for each further one.
        longest: what the patience never passes.
        resend_after: how old a broadcast is when the same bytes are sent again.

    """

    stuck_after: timedelta
    stuck_after_blocks: int | None
    factor: float
    longest: timedelta
    resend_after: timedelta


POOLED = Pace(timedelta(seconds=45), 3, 1.5, timedelta(minutes=10), timedelta(seconds=30))
"""Where transactions wait in pools, and dearer ones replace them."""

FIRST_COME = Pace(timedelta(seconds=20), None, 1.0, timedelta(seconds=20), timedelta(seconds=20))
"""Where they are taken at once or not at all."""
