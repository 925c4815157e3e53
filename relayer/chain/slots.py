"""Nonce slots and what was signed for them, as the database keeps them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from relayer.chain.answers import AnswerClass, named_cap
from relayer.chain.fee import Fee

NOTHING_GAS = 21_000
"""What a transaction of nothing to the account itself takes."""

# So often in a row an answer that nobody understands is put down to the node.
_UNKNOWN_ANSWERS = 3
# A transaction with too little gas is signed once more, with more.
_GAS_ANSWERS = 2


class SlotState(StrEnum):
    """Where a nonce stands. The database knows the same transitions (migration `slots`)."""

    RESERVED = "reserved"
    SIGNED = "signed"
    BROADCAST = "broadcast"
    INCLUDED = "included"
    FINAL = "final"
    REVERTED = "reverted"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"


TRANSITIONS: frozenset[tuple[SlotState, SlotState]] = frozenset(
    {
        (SlotState.RESERVED, SlotState.SIGNED),
        (SlotState.RESERVED, SlotState.SUPERSEDED),
        (SlotState.SIGNED, SlotState.BROADCAST),
        (SlotState.SIGNED, SlotState.INCLUDED),
        (SlotState.SIGNED, SlotState.REVERTED),
        (SlotState.SIGNED, SlotState.SUPERSEDED),
        (SlotState.SIGNED, SlotState.CANCELLED),
        (SlotState.BROADCAST, SlotState.SIGNED),
        (SlotState.BROADCAST, SlotState.INCLUDED),
        (SlotState.BROADCAST, SlotState.REVERTED),
        (SlotState.BROADCAST, SlotState.SUPERSEDED),
        (SlotState.BROADCAST, SlotState.CANCELLED),
        (SlotState.INCLUDED, SlotState.BROADCAST),
        (SlotState.INCLUDED, SlotState.FINAL),
    }
)

UNMINED = (SlotState.RESERVED, SlotState.SIGNED, SlotState.BROADCAST)


class Purpose(StrEnum):
    """What a slot's transaction is for. All but the first are of nothing to the account itself."""

    CONFIRM_BATCH = "confirm_batch"
    CANCEL = "cancel"
    """It takes the nonce away from a batch's transaction, if it is mined first."""
    FILL = "fill"
    """It closes a gap below nonces that wait for it."""


@dataclass(frozen=True)
class Attempt:
    """One signed byte string of a slot. `refusals` says how often in a row nodes gave the last class of answer."""

    hash: bytes
    slot_id: UUID
    purpose: Purpose
    raw: bytes
    gas_limit: int
    fee: Fee
    first_broadcast_at: datetime | None = None
    first_broadcast_block: int | None = None
    last_broadcast_at: datetime | None = None
    last_broadcast_block: int | None = None
    last_class: AnswerClass | None = None
    last_answer: str | None = None
    refusals: int = 0

    @property
    def asks_for_a_human(self) -> bool:
        """Whether nodes refuse it for a reason that no repetition mends."""
        if self.last_class is AnswerClass.UNKNOWN:
            return self.refusals >= _UNKNOWN_ANSWERS
        return self.last_class is not None and self.last_class.is_hopeless


@dataclass(frozen=True)
class Slot:
    """A nonce of the sender's account that is not settled, and everything signed for it, the dearest last.

    `batch_id` is None for a fill. `target` and `calldata` are those of the batch's call.
    """

    id: UUID
    nonce: int
    purpose: Purpose
    batch_id: UUID | None
    target: bytes
    calldata: bytes
    state: SlotState
    included_hash: bytes | None
    block_hash: bytes | None
    attempts: tuple[Attempt, ...]

    @property
    def own(self) -> tuple[Attempt, ...]:
        """What was signed for its present purpose, the dearest last."""
        return tuple(one for one in self.attempts if one.purpose is self.purpose)

    @property
    def newest(self) -> Attempt | None:
        """What stands for its present purpose; None where nothing was signed for that."""
        return _standing(self.own) if self.own else None

    @property
    def dearest(self) -> Attempt:
        """What a replacement has to outbid, whatever it was signed for."""
        return _standing(self.attempts)

    @property
    def node_cap(self) -> int | None:
        """The most that nodes take for the whole of a transaction, in wei, as they named it when they refused one."""
        refused = [one for one in self.attempts if one.last_class is AnswerClass.NODE_LIMIT]
        return min((cap for one in refused if (cap := named_cap(one.last_answer or ""))), default=None)

    @property
    def is_unmined(self) -> bool:
        """Whether its transaction is in no block that is known."""
        return self.state in UNMINED

    @property
    def asks_for_a_human(self) -> bool:
        """Whether nothing is sent for it until an operator has looked at it."""
        if not self.is_unmined or self.newest is None:
            return False
        short = sum(one.last_class is AnswerClass.GAS_TOO_LOW for one in self.own)
        return short >= _GAS_ANSWERS or self.newest.asks_for_a_human


def _standing(attempts: Sequence[Attempt]) -> Attempt:
    """The dearest, but for those that are in no pool because they cost more than nodes of our own take."""
    return ([one for one in attempts if one.last_class is not AnswerClass.NODE_LIMIT] or attempts)[-1]
