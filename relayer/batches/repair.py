"""Fixing forward: the events that the database lacks are fetched again and applied as the indexer applies them."""

from collections.abc import Sequence

from relayer.batches.differences import Difference, DifferenceClass
from relayer.batches.reconcile import BatchRow
from relayer.chain import log_repository
from relayer.chain.calls import EventHandler, FinalEvent
from relayer.chain.log_repository import Connection
from relayer.chain.node import Block, LogRange, Node
from relayer.chain.registry import BATCH_CONFIRMED_TOPIC, JOBS_REVOKED_TOPIC
from relayer.chain.registry_reader import RegistryReader
from relayer.chain.rpc import JsonRpc
from relayer.store.registries import RegistryRow

# What jobs and batches follow from. Other events tell of the registry's state, which is read and not replayed.
_REPLAYED = (BATCH_CONFIRMED_TOPIC, JOBS_REVOKED_TOPIC)


class Repair:
    """Applies blocks of one registry anew, from one node. Applying a block twice changes nothing.

    Args:
        rpc: the node.
        registry: whose events are applied.
        handler: applies an event, as the indexer does.
        at: the last block that may be applied; it is final.

    """

    def __init__(self, rpc: JsonRpc, registry: RegistryRow, handler: EventHandler, at: Block) -> None:
        self._node = Node(rpc)
        self._reader = RegistryReader(rpc, registry.address, at)
        self._registry = registry
        self._handler = handler
        self._at = at

    async def heights(self, one: Difference, batches: Sequence[BatchRow]) -> Sequence[int]:
        """Give the blocks whose events mend a difference about one of these batches, or about a word or an event."""
        if one.block is not None:
            return [one.block]
        if one.kind is DifferenceClass.UNAPPLIED_REVOCATION:
            topics = [f"0x{JOBS_REVOKED_TOPIC.hex()}"]
        else:
            (root,) = (batch.root for batch in batches if one.subject == f"batch {batch.id}")
            topics = [f"0x{BATCH_CONFIRMED_TOPIC.hex()}", f"0x{root.hex()}"]
        logs = self._reader.logs(self._registry.first_block, self._at.number, topics)
        return sorted({int(log["blockNumber"], 16) async for log in logs})

    async def read(self, height: int) -> LogRange:
        """Give the registry's events of a block, checked against its header."""
        return await self._node.logs(self._registry.address, height, height)

    async def apply(self, conn: Connection, found: LogRange) -> None:
        """Keep the events of a block, and apply those that jobs follow from."""
        await log_repository.add_blocks(conn, self._registry.chain_id, found.blocks.values(), finalized=True)
        for log in found.logs:
            await log_repository.add_log(conn, self._registry.chain_id, log, finalized=True)
            if log.topics[:1] and log.topics[0] in _REPLAYED:
                mined_at = found.blocks[log.block_number].mined_at
                await self._handler(conn, FinalEvent.of(self._registry.chain_id, log, mined_at))
