"""Reading the contract's logs: each once where nothing can be taken back, early and with care where it can.

A pass reads one range of final blocks and applies their events. Once it has caught up it follows the head, and reads
an older range a second time. All of it goes on from what the database holds, however long nobody looked.
"""

import structlog

from relayer.chain import log_repository as repository
from relayer.chain.calls import EventHandler, FinalEvent, HeadHandler, LogsLostHandler
from relayer.chain.head_follower import HeadFollower
from relayer.chain.log_reader import FinalLogs, IndexerMetrics, LogReader
from relayer.chain.log_repository import Cursor
from relayer.chain.node import Block, Node
from relayer.chain.providers import Providers
from relayer.chain.ranges import RangeSize
from relayer.chain.rpc import RpcError, RpcUnavailableError
from relayer.chain.second_scan import SecondScan, SecondScanPolicy
from relayer.model.clock import Clock
from relayer.store import leases
from relayer.store.database import Database

LEASE = "indexer"
"""The lease under which one indexer leads."""

_log = structlog.get_logger()


class Indexer:
    """Follows one contract from a cursor.

    Args:
        db: in the relayer's role.
        providers: the nodes; each pass reads from one of them.
        chain_id: the id under which logs and cursor are kept.
        address: the contract, 20 bytes.
        first_block: where a new cursor starts.
        handler: applies each final event, in the transaction that moves the cursor past it.
        clock: gives the time of the cursor's moves.
        head: is told early of what may be taken back; without it nothing above the finalized block is read.
        lost: goes on by the contract's state where no node gives logs.
        second: when a final range is read again.
        metrics: where differences are counted.

    """

    def __init__(
        self,
        db: Database,
        providers: Providers,
        *,
        chain_id: int,
        address: bytes,
        first_block: int,
        handler: EventHandler,
        clock: Clock,
        head: HeadHandler | None = None,
        lost: LogsLostHandler | None = None,
        second: SecondScanPolicy | None = None,
        metrics: IndexerMetrics | None = None,
    ) -> None:
        metrics = metrics or IndexerMetrics()
        self._db = db
        self._providers = providers
        self._chain_id = chain_id
        self._address = address
        self._first_block = first_block
        self._handler = handler
        self._clock = clock
        self._head = head
        self._lost = lost
        self._metrics = metrics
        self._size = RangeSize()
        self._reader = LogReader(providers, address, metrics)
        self._second = SecondScan(
            db,
            providers,
            self._reader,
            handler,
            metrics,
            policy=second or SecondScanPolicy(),
            lease=LEASE,
            clock=clock,
            chain_id=chain_id,
            address=address,
        )
        self._follower = (
            None
            if head is None
            else HeadFollower(
                db, self._reader, head, metrics, lease=LEASE, chain_id=chain_id, address=address
            )
        )

    async def run_pass(self, epoch: int) -> int:
        """Read and apply one range of final blocks, then what lies above, under the lease's epoch.

        Returns:
            The number of blocks read; 0 if there is no new block.

        Raises:
            UnavailableError: node or database are away, or the node lags behind the cursor.
            RpcError: no node gives the logs of a single block, nor its receipts.
            FinalityViolationError: a block that was final has another hash now. Nothing goes on until a human looks.
            LeaseLostError: another process leads.

        """
        cursor = await self._cursor(epoch)
        await self._providers.look()
        node = Node(self._providers.pinned())
        latest, finalized = await node.heads()
        last = await self._check_continuity(node, cursor, finalized)
        self._metrics.behind(finalized, cursor.next_block, last)
        read = 0
        if finalized.number >= cursor.next_block:
            read = await self._read_final(node, cursor, finalized, epoch)
            if cursor.next_block + read <= finalized.number:
                return read
            cursor = await self._cursor(epoch)
        if self._follower is not None:
            read += await self._follower.follow(node, cursor, latest, epoch)
        return read + await self._second.run(cursor, epoch)

    async def _cursor(self, epoch: int) -> Cursor:
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            return await repository.cursor_of(
                conn, self._chain_id, self._address, self._first_block, self._clock()
            )

    async def _check_continuity(self, node: Node, cursor: Cursor, finalized: Block) -> Block | None:
        """Give the last block that was read, which the node must have too; None where none was."""
        if cursor.last_hash is None:
            return None
        height = cursor.next_block - 1
        block = await node.block(height)
        if block is not None and block.hash != cursor.last_hash:
            reason = (
                f"block {height} of chain {self._chain_id} was final as 0x{cursor.last_hash.hex()}, but the node at "
                f"{node.rpc.address} has 0x{block.hash.hex()}"
            )
            self._providers.distrust(node.rpc, reason)
            # Where another node is left, the next pass reads from it; where none is, this says so.
            self._providers.pinned()
            raise node.rpc.nonsense(reason)
        if block is None or finalized.number < height:
            raise node.rpc.nonsense(
                f"the node's finalized block {finalized.number} lies below block {height}, which was read already"
            )
        return block

    async def _read_final(self, node: Node, cursor: Cursor, finalized: Block, epoch: int) -> int:
        """Read and apply the next range, from another node where one gives no logs; give its number of blocks."""
        others = [Node(rpc) for rpc in self._providers.usable() if rpc is not node.rpc]
        troubles: list[RpcError | RpcUnavailableError] = []
        for one in (node, *others):
            try:
                if one is not node:
                    await self._check_continuity(one, cursor, finalized)
                return await self._read_from(one, cursor, finalized, epoch)
            except (RpcError, RpcUnavailableError) as error:
                troubles.append(error)
                _log.warning("logs_not_given", node=one.rpc.address, reason=str(error))
        if self._lost is not None:
            await self._lost.logs_lost(node, finalized, epoch)
        raise troubles[-1]

    async def _read_from(self, node: Node, cursor: Cursor, finalized: Block, epoch: int) -> int:
        reading = await self._reader.final(node, self._size, cursor.next_block, finalized.number)
        if self._follower is not None:
            reading = await self._follower.with_early_blocks(node, cursor, reading)
        await self._apply(epoch, cursor, reading)
        return reading.last - cursor.next_block + 1

    async def _apply(self, epoch: int, cursor: Cursor, reading: FinalLogs) -> None:
        found = reading.found
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            moved = await repository.advance(
                conn,
                self._chain_id,
                self._address,
                expected=cursor.next_block,
                last=found.blocks[reading.last],
                at=self._clock(),
            )
            if not moved:
                raise leases.LeaseLostError(LEASE)
            await repository.add_blocks(conn, self._chain_id, found.blocks.values(), finalized=True)
            for log in found.logs:
                if await repository.add_log(conn, self._chain_id, log, finalized=True):
                    mined_at = found.blocks[log.block_number].mined_at
                    await self._handler(conn, FinalEvent.of(self._chain_id, log, mined_at))
            if self._follower is not None:
                await self._follower.settle(conn, cursor.next_block, reading)
