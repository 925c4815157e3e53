"""Confirming without logs: what the contract's state says of our open batches, at the finalized block.

`batch(root)` says that a batch is confirmed, and `word(index)` that each of its tickets is spent. Where the transaction
was comes from its receipt, which the sender keeps or asks for. A batch that somebody else confirmed has no receipt
of ours: its jobs wait for the event, and it is said why.
"""

from uuid import UUID

import structlog

from relayer.batches import repository
from relayer.batches.handlers import Confirmation, confirm
from relayer.chain.calls import LogsLostHandler
from relayer.chain.node import Block, Node, TransactionReceipt
from relayer.chain.registry_reader import RegistryReader
from relayer.model.clock import Clock
from relayer.store import leases
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

_log = structlog.get_logger(__name__)


class StateFallback(LogsLostHandler):
    """The fallback of one registry; `lease` fences its writes."""

    def __init__(self, db: Database, registry: RegistryRow, *, lease: str, clock: Clock) -> None:
        self._db = db
        self._registry = registry
        self._lease = lease
        self._clock = clock

    async def logs_lost(self, node: Node, finalized: Block, epoch: int) -> int:
        """Confirm what the registry's state and our own receipts prove; give the number of batches.

        Raises:
            RpcUnavailableError: the node does not answer.
            RpcError: it refuses to read the state at the finalized block.

        """
        reader = RegistryReader(node.rpc, self._registry.address, finalized)
        async with self._db.transaction() as conn:
            waiting = await repository.sent_batches(conn, self._registry.id)
        known = await reader.batches([root for _, root in waiting])
        confirmed = 0
        for batch_id, root in waiting:
            if root not in known or not await self._spent(reader, batch_id):
                continue
            receipt = await self._receipt(node, batch_id, finalized)
            if receipt is None:
                _log.warning(
                    "confirmed_without_receipt",
                    batch=str(batch_id),
                    reason="the registry knows the batch, but no transaction of ours confirmed it; its event is awaited",
                )
                continue
            async with self._db.transaction() as conn:
                await leases.require(conn, self._lease, epoch)
                await confirm(
                    conn,
                    Confirmation(
                        chain_id=self._registry.chain_id,
                        registry=self._registry.address,
                        root=root,
                        transaction_hash=receipt.transaction_hash,
                        block_number=receipt.block_number,
                        block_hash=receipt.block_hash,
                    ),
                    self._clock(),
                )
            confirmed += 1
            _log.warning("confirmed_by_state", batch=str(batch_id), block=receipt.block_number)
        return confirmed

    async def _spent(self, reader: RegistryReader, batch_id: UUID) -> bool:
        async with self._db.transaction() as conn:
            words = await repository.words_of(conn, batch_id)
        found = await reader.words([word.index for word in words])
        return all(found[word.index][0] & word.mask == word.mask for word in words)

    async def _receipt(self, node: Node, batch_id: UUID, finalized: Block) -> TransactionReceipt | None:
        """The successful receipt of a transaction of ours in a final block that is canonical."""
        async with self._db.transaction() as conn:
            hashes = await repository.attempt_hashes(conn, batch_id)
        receipts = await node.receipts(hashes)
        for receipt in receipts.values():
            if receipt.succeeded and receipt.block_number <= finalized.number:
                block = await node.block(receipt.block_number)
                if block is not None and block.hash == receipt.block_hash:
                    return receipt
        return None
