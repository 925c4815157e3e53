"""What the sender and the indexer are given by those who know what a transaction or an event means."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
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
    """Whose calls the sender sends. Every method runs in the sender's own transaction."""

    async def next(self, conn: AsyncConnection[TupleRow]) -> Call | None:
        """Give the next call to send, with its batch locked; None if there is none."""

    async def sending(self, conn: AsyncConnection[TupleRow], batch_id: UUID) -> None:
        """A nonce is reserved for the batch."""

    async def included(self, conn: AsyncConnection[TupleRow], batch_id: UUID, inclusion: Inclusion) -> None:
        """The batch's transaction succeeded in a block that is not final yet."""

    async def dropped(self, conn: AsyncConnection[TupleRow], batch_id: UUID) -> None:
        """The block of the batch's transaction is no longer canonical; it is being sent again."""

    async def refused(
        self, conn: AsyncConnection[TupleRow], batch_id: UUID, error: RevertError | None, text: str
    ) -> None:
        """The call reverts (before a nonce was taken, or in a final block), or its nonce went to another transaction.

        Without an `error` the reason is known only as text, and a human should look at it.
        """
