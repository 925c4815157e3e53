"""Reading every final range once more, later and from another node: what only one of the two readings gave is repaired."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from relayer.chain import log_repository as repository
from relayer.chain.calls import EventHandler, FinalEvent
from relayer.chain.health import FinalityViolationError
from relayer.chain.log_reader import FinalLogs, IndexerMetrics, LogReader
from relayer.chain.log_repository import Cursor
from relayer.chain.node import EVERY_HEADER, Log, LogRange, Node
from relayer.chain.providers import Providers
from relayer.chain.ranges import RangeSize
from relayer.chain.rpc import RpcError, RpcUnavailableError
from relayer.model.clock import Clock
from relayer.store import leases
from relayer.store.database import Database

# How long a node that gives no logs is left alone.
_REST = timedelta(seconds=30)

_log = structlog.get_logger()


@dataclass(frozen=True)
class SecondScanPolicy:
    """When a final block is read again: as soon as so many final blocks follow it, or after a time."""

    blocks: int = 100
    after: timedelta = timedelta(minutes=10)


class SecondScan:
    """The second reading of one contract's final logs."""

    def __init__(
        self,
        db: Database,
        providers: Providers,
        reader: LogReader,
        handler: EventHandler,
        metrics: IndexerMetrics,
        *,
        policy: SecondScanPolicy,
        chain_id: int,
        address: bytes,
        lease: str,
        clock: Clock,
    ) -> None:
        self._db = db
        self._providers = providers
        self._reader = reader
        self._handler = handler
        self._metrics = metrics
        self._policy = policy
        self._chain_id = chain_id
        self._address = address
        self._lease = lease
        self._clock = clock
        # Every filter is looked at: the first reading leaves them out of long ranges, to catch up soon.
        self._size = RangeSize(most=EVERY_HEADER)
        self._rests_until = clock()
        # Since when blocks up to this one wait to be read again.
        self._waiting: tuple[int, datetime] | None = None

    async def run(self, cursor: Cursor, epoch: int) -> int:
        """Read the next range that is due again; give its number of blocks, 0 if none is due or the node gives no logs.

        Raises:
            UnavailableError: the database is away.
            FinalityViolationError: a final block is another one now.
            LeaseLostError: another process leads.

        """
        limit = self._due_up_to(cursor)
        if limit < cursor.second_block or self._clock() < self._rests_until:
            return 0
        first = cursor.second_block
        # The least preferred: the first reading came from the most preferred, unless that was away.
        node = Node(self._providers.usable()[-1])
        try:
            reading = await self._reader.final(node, self._size, first, limit)
            missing = await self._missing(node, first, reading)
        except (RpcError, RpcUnavailableError) as error:
            # The first reading goes on meanwhile.
            self._rests_until = self._clock() + _REST
            _log.warning("second_scan_waits", node=node.rpc.address, reason=str(error))
            return 0
        async with self._db.transaction() as conn:
            await leases.require(conn, self._lease, epoch)
            if not await repository.advance_second(
                conn, self._chain_id, self._address, expected=first, next_block=reading.last + 1
            ):
                raise leases.LeaseLostError(self._lease)
            await self._apply(conn, missing, reading.found)
        return reading.last - first + 1

    def _due_up_to(self, cursor: Cursor) -> int:
        """The last block that is due; the wait begins anew when the process does."""
        last = cursor.next_block - 1
        now = self._clock()
        if self._waiting is None or self._waiting[0] < cursor.second_block:
            self._waiting = last, now
        up_to, since = self._waiting
        return max(last - self._policy.blocks, up_to if now - since >= self._policy.after else -1)

    async def _missing(self, node: Node, first: int, reading: FinalLogs) -> list[Log]:
        """Give the logs that the first reading lacks, once both nodes agree about the blocks of all differences."""
        async with self._db.transaction() as conn:
            kept = await repository.logs_between(
                conn, self._chain_id, self._address, first, reading.last, finalized=True
            )
        known = {(log.block_hash, log.log_index) for log, _ in kept}
        given = {(log.block_hash, log.log_index) for log in reading.found.logs}
        missing = [log for log in reading.found.logs if (log.block_hash, log.log_index) not in known]
        extra = [log for log, _ in kept if (log.block_hash, log.log_index) not in given]
        if extra:
            await self._require_same_blocks(node, extra)
            self._metrics.second_scan_differences.labels("second").inc(len(extra))
            _log.error("second_scan_lacks_logs", node=node.rpc.address, logs=len(extra))
        if missing:
            await self._require_same_blocks(Node(self._providers.pinned()), missing)
            self._metrics.second_scan_differences.labels("first").inc(len(missing))
            _log.error("second_scan_found_logs", node=node.rpc.address, logs=len(missing))
        return missing

    async def _apply(self, conn: repository.Connection, missing: list[Log], found: LogRange) -> None:
        heights = {log.block_number for log in missing}
        blocks = [block for height, block in found.blocks.items() if height in heights]
        await repository.add_blocks(conn, self._chain_id, blocks, finalized=True)
        for log in missing:
            if await repository.add_log(conn, self._chain_id, log, finalized=True):
                mined_at = found.blocks[log.block_number].mined_at
                await self._handler(conn, FinalEvent.of(self._chain_id, log, mined_at))

    async def _require_same_blocks(self, node: Node, logs: list[Log]) -> None:
        """A node that lacks logs is poor; one that has other blocks is of another chain."""
        blocks = await node.blocks(sorted({log.block_number for log in logs}))
        for log in logs:
            if (block := blocks.get(log.block_number)) is None:
                raise node.rpc.nonsense(f"block {log.block_number} is missing below its finalized block")
            if block.hash != log.block_hash:
                raise FinalityViolationError(
                    f"block {log.block_number} of chain {self._chain_id} was read as final as 0x{log.block_hash.hex()}, but "
                    f"the node at {node.rpc.address} has 0x{block.hash.hex()}; check which of them is right"
                )
