"""Following the chain above its finalized block: every block by hash, and back again where the chain takes it back."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import structlog

from relayer.chain import log_repository as repository
from relayer.chain.calls import HeadHandler, SoftEvent
from relayer.chain.log_reader import FinalLogs, IndexerMetrics, LogReader
from relayer.chain.log_repository import Connection, Cursor
from relayer.chain.node import Block, BlockRef, Header, Log, LogRange, Node
from relayer.chain.rpc import RpcUnavailableError
from relayer.store import leases
from relayer.store.database import Database

_CHUNK = 64

_log = structlog.get_logger()


class HeadFollower:
    """Keeps the canonical blocks above the finalized one, and tells a handler what their logs say early.

    What is kept stands in the database, so that a chain that changed while nobody looked is noticed too.

    Args:
        lease: the name under which its writes are fenced.

    """

    def __init__(
        self,
        db: Database,
        reader: LogReader,
        handler: HeadHandler,
        metrics: IndexerMetrics,
        *,
        chain_id: int,
        address: bytes,
        lease: str,
    ) -> None:
        self._db = db
        self._reader = reader
        self._handler = handler
        self._metrics = metrics
        self._chain_id = chain_id
        self._address = address
        self._lease = lease
        self._touched = True

    async def follow(self, node: Node, cursor: Cursor, latest: Block, epoch: int) -> int:
        """Take back what is no longer canonical, read on towards the head, and give how many blocks were read.

        Raises:
            UnavailableError: node or database are away.
            LeaseLostError: another process leads.

        """
        async with self._db.transaction() as conn:
            kept = await repository.open_blocks(conn, self._chain_id)
        kept = [one for one in kept if one.number >= cursor.next_block]
        orphans = await self._orphans(node, kept, latest)
        standing = kept[len(orphans) :]
        # A cursor that has not moved yet stands on nothing whose child could be told.
        parent = standing[0].hash if standing else cursor.last_hash
        first = standing[0].number + 1 if standing else cursor.next_block
        headers = await self._children(node, parent, first, latest.number)
        logs = await self._reader.of_blocks(node, headers)
        if orphans or headers:
            await self._keep(epoch, cursor, orphans, headers, logs)
        if not headers or headers[-1].number == latest.number:
            head = headers[-1] if headers else latest
            await self._handler.at_head(node, head, epoch, touched=self._touched)
            self._touched = False
        return len(headers)

    async def with_early_blocks(self, node: Node, cursor: Cursor, reading: FinalLogs) -> FinalLogs:
        """Add to a range the headers of the heights at which logs were seen early, for `settle`."""
        async with self._db.transaction() as conn:
            early = await repository.logs_between(
                conn, self._chain_id, self._address, cursor.next_block, reading.last, finalized=False
            )
        known = reading.found.blocks
        if not (missing := sorted({log.block_number for log, _ in early} - known.keys())):
            return reading
        blocks = await node.headers(missing)
        return FinalLogs(reading.last, LogRange(reading.found.logs, known | blocks))

    async def settle(self, conn: Connection, first: int, reading: FinalLogs) -> None:
        """End the early view of a range that is final now; in the transaction that moves the cursor past it.

        Logs that were seen early and are not among the final ones were taken back while nobody looked, or the node has
        lost them: then it still has their block, or none at that height, and is not believed.

        Raises:
            RpcUnavailableError: the node has lost logs.

        """
        early = await repository.logs_between(
            conn, self._chain_id, self._address, first, reading.last, finalized=False
        )
        for log, mined_at in reversed(early):
            block = reading.found.blocks.get(log.block_number)
            if block is None or block.hash == log.block_hash:
                raise RpcUnavailableError(
                    f"the logs of block {log.block_number}, which were seen before, are missing now that it is final"
                )
            await self._handler.undone(conn, SoftEvent.of(self._chain_id, log, mined_at))
        await repository.take_back(conn, self._chain_id, [log.block_hash for log, _ in early])
        await repository.forget_open_blocks(conn, self._chain_id, reading.last)
        self._touched = self._touched or bool(early or reading.found.logs)

    async def _orphans(self, node: Node, kept: Sequence[BlockRef], latest: Block) -> list[BlockRef]:
        """The kept blocks, the highest first, above the highest that the node has too.

        A node whose head lies below a kept block says nothing about it, unless it contradicts a lower one.
        """
        comparable = [one for one in kept if one.number <= latest.number]
        # Nearly always the highest is still canonical.
        for chunk in (comparable[:1], *_chunks(comparable[1:])):
            blocks = await node.blocks([one.number for one in chunk])
            for one in chunk:
                if (block := blocks.get(one.number)) is not None and block.hash == one.hash:
                    contradicted = one is not comparable[0]
                    return [other for other in kept if other.number > one.number] if contradicted else []
        return list(kept) if comparable else []

    async def _children(self, node: Node, parent: bytes | None, first: int, latest: int) -> list[Header]:
        """The next blocks up to the head, each the child of the one before it; fewer where the chain just changed."""
        wanted = range(first, min(first + _CHUNK, latest + 1))
        blocks = await node.headers(wanted)
        headers = [blocks[height] for height in wanted if height in blocks]
        if not headers or (parent is not None and headers[0].parent_hash != parent):
            return []
        for at, (below, above) in enumerate(pairwise(headers), start=1):
            if above.parent_hash != below.hash:
                return headers[:at]
        return headers

    async def _keep(
        self,
        epoch: int,
        cursor: Cursor,
        orphans: Sequence[BlockRef],
        headers: Sequence[Header],
        logs: Sequence[Log],
    ) -> None:
        async with self._db.transaction() as conn:
            await leases.require(conn, self._lease, epoch)
            if not await repository.lock_cursor(conn, self._chain_id, self._address, cursor.next_block):
                raise leases.LeaseLostError(self._lease)
            if orphans:
                await self._roll_back(conn, orphans)
            await repository.add_blocks(conn, self._chain_id, headers, finalized=False)
            times = {header.hash: header.mined_at for header in headers}
            for log in logs:
                if await repository.add_log(conn, self._chain_id, log, finalized=False):
                    self._touched = True
                    await self._handler.seen(conn, SoftEvent.of(self._chain_id, log, times[log.block_hash]))

    async def _roll_back(self, conn: Connection, orphans: Sequence[BlockRef]) -> None:
        """Undo, the latest first, what the orphaned blocks said, in one transaction with their end."""
        hashes = {one.hash for one in orphans}
        lowest, highest = orphans[-1].number, orphans[0].number
        told = await repository.logs_between(
            conn, self._chain_id, self._address, lowest, highest, finalized=False
        )
        for log, mined_at in reversed(told):
            if log.block_hash in hashes:
                await self._handler.undone(conn, SoftEvent.of(self._chain_id, log, mined_at))
        await repository.take_back(conn, self._chain_id, list(hashes))
        self._touched = True
        self._metrics.rolled_back_blocks.inc(len(orphans))
        self._metrics.reorg_depth.observe(len(orphans))
        _log.warning("blocks_rolled_back", chain=self._chain_id, blocks=len(orphans), lowest=lowest)


def _chunks(refs: Sequence[BlockRef]) -> Iterator[Sequence[BlockRef]]:
    for at in range(0, len(refs), _CHUNK):
        yield refs[at : at + _CHUNK]
