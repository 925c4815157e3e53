"""What the sender and the indexer are given by those who know what a transaction or an event means."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

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
class FinalEvent:
    """A log in a finalized block; `block_time` in UTC."""

    chain_id: int
    address: bytes
    block_number: int
    block_hash: bytes
    block_time: datetime
    transaction_hash: bytes
    log_index: int
    topics: tuple[bytes, ...]
    data: bytes


EventHandler = Callable[[AsyncConnection[TupleRow], FinalEvent], Awaitable[None]]
"""Applies an event, in the transaction that moves the indexer's cursor past it."""


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
