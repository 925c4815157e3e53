"""What the head of the chain says early: where our batches are included, and whether the registry lets us confirm.

Nothing here is final. An inclusion is a hint, which is taken back with its block. Events of pause, roles and upgrades
only wake this up: what the registry is, is read at the head, so that it is right however old the event, and right again
after a reorganisation.
"""

from datetime import datetime, timedelta

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import registry_state, repository
from relayer.chain.calls import HeadHandler, SoftEvent
from relayer.chain.node import Block, Node
from relayer.chain.registry import BATCH_CONFIRMED_TOPIC, QUORUM_SET_TOPIC, RegistryClient
from relayer.chain.registry_view import view_registry
from relayer.chain.rpc import RpcError
from relayer.model.clock import Clock
from relayer.store import leases
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

_log = structlog.get_logger(__name__)

# In case an event was missed; a look costs a few requests.
_LOOK_EVERY = timedelta(minutes=1)


class HeadWatch(HeadHandler):
    """The watch of one registry, for the account that confirms; `lease` fences its writes."""

    def __init__(
        self, db: Database, registry: RegistryRow, account: bytes, *, lease: str, clock: Clock
    ) -> None:
        self._db = db
        self._registry = registry
        self._account = account
        self._lease = lease
        self._clock = clock
        self._looked_at: datetime | None = None

    async def seen(self, conn: AsyncConnection[TupleRow], event: SoftEvent) -> None:
        """Hint at the inclusion of a batch of ours, or let batches be tried that another quorum may let through."""
        if event.topics[:1] == (QUORUM_SET_TOPIC,):
            lane = RegistryClient.decode_quorum_set(event.topics)
            await repository.look_again_at_quorum(conn, self._registry.id, lane, self._clock())
        if event.topics[:1] == (BATCH_CONFIRMED_TOPIC,):
            await repository.hint_included(
                conn,
                self._registry.id,
                RegistryClient.decode_batch_confirmed(event.topics, event.data).root,
                transaction_hash=event.transaction_hash,
                block_number=event.block_number,
                block_hash=event.block_hash,
                at=self._clock(),
            )

    async def undone(self, conn: AsyncConnection[TupleRow], event: SoftEvent) -> None:
        """Take the hint back."""
        if event.topics[:1] == (BATCH_CONFIRMED_TOPIC,):
            root = RegistryClient.decode_batch_confirmed(event.topics, event.data).root
            await repository.unhint_included(conn, self._registry.id, root, event.block_hash)

    async def at_head(self, node: Node, head: Block, epoch: int, *, touched: bool) -> None:
        """Look at the registry where something may have changed, at the start, and every minute."""
        now = self._clock()
        if not touched and self._looked_at is not None and now - self._looked_at < _LOOK_EVERY:
            return
        try:
            view = await view_registry(node, self._registry.address, self._account, head)
        except RpcError as error:
            # The block may have gone meanwhile. The next pass looks again; events go on being read.
            self._looked_at = None
            _log.warning("registry_not_seen", node=node.rpc.address, block=head.number, reason=error.message)
            return
        async with self._db.transaction() as conn:
            await leases.require(conn, self._lease, epoch)
            await registry_state.observe(conn, self._registry.id, view, now)
        self._looked_at = now
