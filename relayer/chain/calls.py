"""What the sender and the indexer are given by those who know what a transaction or an event means."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, Self
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.chain.node import Block, Log, Node
from relayer.chain.registry import RevertError


@dataclass(frozen=True)
class Call:
    """A contract call that confirms one batch: `target` is an address of 20 bytes."""

    batch_id: UUID
    target: bytes
    calldata: bytes


@dataclass(frozen=True)
class Inclusion:
    """Where a batch's transaction was mined."""

    transaction_hash: bytes
    block_number: int
    block_hash: bytes
    gas_used: int


class Cause(StrEnum):
    """Why a call does not go on."""

    REVERTS = "reverts"
    """It would revert; no nonce was used up."""
    REVERTED = "reverted"
    """It reverted in a final block."""
    CONFIRMED = "confirmed"
    """What it does is done already, or seems to be in a block that may be taken back: the event is awaited."""
    SPENT_ELSEWHERE = "spent_elsewhere"
    """Tickets of the batch are spent for good under another root."""
    OUT_OF_GAS = "out_of_gas"
    """It used up its gas in a final block, and may be sent again with more."""
    TOO_MUCH_GAS = "too_much_gas"
    """It needs more gas than it may have, or ran out of it too often."""
    FUNDS = "funds"
    """The account cannot pay for it with some to spare."""
    FEE_CAP = "fee_cap"
    """The market asks for more than may be paid."""
    SUPERSEDED = "superseded"
    """Its nonce went, in a final block, to a transaction that was not signed here."""
    CANCELLED = "cancelled"
    """Its nonce went, in a final block, to nothing, as an operator wanted it."""
    UNKNOWN_ANSWER = "unknown_answer"
    """Nodes refuse it again and again in words that nobody knows."""
    NODE_LIMIT = "node_limit"
    """A node's own limits refuse it."""
    SIGNATURE = "signature"
    """Nodes say that it is signed wrongly or for another chain."""
    OVERSIZED = "oversized"
    """It is larger than nodes take."""


@dataclass(frozen=True)
class Refusal:
    """Why a call does not go on, in words for people; `error` is what the contract said, where it said something."""

    cause: Cause
    text: str
    error: RevertError | None = None


class Leave(StrEnum):
    """Whether something may be signed for a nonce that was taken for a batch."""

    GO = "go"
    WAIT = "wait"
    """The batch is held: its nonce is kept for it."""
    GONE = "gone"
    """The batch does not want it any more, or not soon: the nonce is used up by a transaction of nothing."""


@dataclass(frozen=True)
class Event:
    """A log of a contract, with the time of its block in UTC."""

    chain_id: int
    address: bytes
    block_number: int
    block_hash: bytes
    block_time: datetime
    transaction_hash: bytes
    log_index: int
    topics: tuple[bytes, ...]
    data: bytes

    @classmethod
    def of(cls, chain_id: int, log: Log, block_time: datetime) -> Self:
        """The event of a log in a block of this time."""
        return cls(
            chain_id=chain_id,
            address=log.address,
            block_number=log.block_number,
            block_hash=log.block_hash,
            block_time=block_time,
            transaction_hash=log.transaction_hash,
            log_index=log.log_index,
            topics=log.topics,
            data=log.data,
        )


class FinalEvent(Event):
    """A log in a finalized block."""


class SoftEvent(Event):
    """A log in a canonical block that is not final yet: it may be taken back."""


EventHandler = Callable[[AsyncConnection[TupleRow], FinalEvent], Awaitable[None]]
"""Applies an event, in the transaction that moves the indexer's cursor past it."""


class HeadHandler(Protocol):
    """Who wants to know early what may still be taken back."""

    async def seen(self, conn: AsyncConnection[TupleRow], event: SoftEvent) -> None:
        """A block brought an event. Runs in the transaction that keeps the block."""

    async def undone(self, conn: AsyncConnection[TupleRow], event: SoftEvent) -> None:
        """The event's block is no longer canonical. Runs in the transaction that says so, the latest event first."""

    async def at_head(self, node: Node, head: Block, epoch: int, *, touched: bool) -> None:
        """Everything up to the head is read; `touched` if events came or went since the last time."""


class LogsLostHandler(Protocol):
    """Who can go on without logs, by the contract's state alone."""

    async def logs_lost(self, node: Node, finalized: Block, epoch: int) -> int:
        """No node gives the logs of a final block. Give how much was found out otherwise."""


class CallSource(Protocol):
    """Whose calls the sender sends. Every method but `weigh` runs in the sender's own transaction."""

    async def next(self, conn: AsyncConnection[TupleRow]) -> Call | None:
        """Give the next call to send, with its batch locked; None if there is none."""

    async def leave(
        self, conn: AsyncConnection[TupleRow], batch_id: UUID, refusal: Refusal | None = None
    ) -> Leave:
        """Say whether the call may be signed for the nonce that was taken for it, which would end as `refusal` says."""

    async def halted(self, conn: AsyncConnection[TupleRow], trouble: str) -> None:
        """No node can be relied on: nothing is sent, and no nonce is taken, until one can."""

    async def sending(self, conn: AsyncConnection[TupleRow], batch_id: UUID) -> bool:
        """A nonce is being taken for the batch; False if it was stopped meanwhile, and none may be taken."""

    async def included(self, conn: AsyncConnection[TupleRow], batch_id: UUID, inclusion: Inclusion) -> None:
        """The batch's transaction succeeded in a block that is not final yet."""

    async def dropped(self, conn: AsyncConnection[TupleRow], batch_id: UUID) -> None:
        """The block of the batch's transaction is no longer canonical; it is being sent again."""

    async def weigh(self, batch_id: UUID, refusal: Refusal) -> Refusal:
        """Ask the chain what a revert or a lost nonce means for the batch, and give the refusal with that as its cause.

        Runs outside of transactions, before `refused`: nodes may take their time.
        """

    async def refused(self, conn: AsyncConnection[TupleRow], batch_id: UUID, refusal: Refusal) -> None:
        """The call does not go on, before a nonce was taken, while one is, or after it was used up."""
