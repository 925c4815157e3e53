"""The nonce slots of one account, which are written only under the lease's epoch."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from relayer.chain import slot_repository as repository
from relayer.chain.node import AccountView, Node
from relayer.chain.rpc import JsonRpc
from relayer.chain.slot_repository import Account, Connection, Stamp
from relayer.chain.slots import Slot
from relayer.model.clock import Clock
from relayer.store import leases
from relayer.store.database import Database

LEASE = "sender"
"""The lease under which one sender leads."""


@dataclass(frozen=True)
class View:
    """What one pass works with: the epoch under which it writes, the node that it reads from, the account as it is there."""

    epoch: int
    rpc: JsonRpc
    account: AccountView

    @property
    def node(self) -> Node:
        """Typed reads of the pass's node."""
        return Node(self.rpc)


@dataclass(frozen=True)
class Entry:
    """A transaction of the database in which slots may be written, and their stamp."""

    conn: Connection
    stamp: Stamp


class Ledger:
    """Reads and writes the slots of an account."""

    def __init__(self, db: Database, account: Account, clock: Clock) -> None:
        self.account = account
        self._db = db
        self._clock = clock

    async def load(self) -> list[Slot]:
        """Give the slots that are not settled, in nonce order."""
        async with self._db.transaction() as conn:
            return await repository.open_slots(conn, self.account)

    async def next_nonce(self) -> int:
        """Give the nonce above all that were ever taken here."""
        async with self._db.transaction() as conn:
            return await repository.next_nonce(conn, self.account, 0)

    @asynccontextmanager
    async def write(self, epoch: int) -> AsyncIterator[Entry]:
        """Open a transaction that commits only while the epoch leads.

        Raises:
            LeaseLostError: another process leads; nothing was written.

        """
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            yield Entry(conn, Stamp(epoch, self._clock()))
