"""Reading the contract's logs, each once, and only where nothing can be taken back: up to the finalized block."""

import structlog

from relayer.chain import log_repository as repository
from relayer.chain.calls import EventHandler, FinalEvent
from relayer.chain.health import FinalityViolationError
from relayer.chain.log_repository import Cursor
from relayer.chain.node import LogRange, Node
from relayer.chain.providers import Providers
from relayer.chain.rpc import RpcError, RpcUnavailableError
from relayer.model.clock import Clock
from relayer.store import leases
from relayer.store.database import Database

LEASE = "indexer"
"""The lease under which one indexer leads."""

_MAX_RANGE = 1_000

_log = structlog.get_logger()


class Indexer:
    """Follows one contract from a cursor.

    Args:
        db: in the relayer's role.
        providers: the nodes; each pass reads from one of them.
        chain_id: the id under which logs and cursor are kept.
        address: the contract, 20 bytes.
        first_block: where a new cursor starts.
        handler: applies each event, in the transaction that moves the cursor past it.
        clock: gives the time of the cursor's moves.

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
    ) -> None:
        self._db = db
        self._providers = providers
        self._chain_id = chain_id
        self._address = address
        self._first_block = first_block
        self._handler = handler
        self._clock = clock
        self._range = _MAX_RANGE

    async def run_pass(self, epoch: int) -> int:
        """Read and apply one range of final blocks, under the lease's epoch.

        Returns:
            The number of blocks read; 0 if there is no new final block.

        Raises:
            UnavailableError: node or database are away, or the node lags behind the cursor.
            RpcError: the node refuses to give the logs of a single block.
            FinalityViolationError: a block that was final has another hash now. Nothing goes on until a human looks.
            LeaseLostError: another process leads.

        """
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            cursor = await repository.cursor_of(
                conn, self._chain_id, self._address, self._first_block, self._clock()
            )
        await self._providers.look()
        node = Node(self._providers.pinned())
        finalized = await self._finalized_height(node)
        await self._check_continuity(node, cursor, finalized)
        if finalized < cursor.next_block:
            return 0
        last, found = await self._read(node, cursor.next_block, finalized)
        await self._apply(epoch, cursor, last, found)
        self._range = min(2 * self._range, _MAX_RANGE)
        return last - cursor.next_block + 1

    async def _finalized_height(self, node: Node) -> int:
        block = await node.block("finalized")
        if block is None:
            raise node.rpc.nonsense("the node has no finalized block")
        return block.number

    async def _check_continuity(self, node: Node, cursor: Cursor, finalized: int) -> None:
        if cursor.last_hash is None:
            return
        height = cursor.next_block - 1
        block = await node.block(height)
        address = node.rpc.address
        if block is not None and block.hash != cursor.last_hash:
            raise FinalityViolationError(
                f"block {height} of chain {self._chain_id} was final as 0x{cursor.last_hash.hex()}, but the node at "
                f"{address} has 0x{block.hash.hex()}; check that this is the same chain before going on"
            )
        if block is None or finalized < height:
            raise node.rpc.nonsense(
                f"the node's finalized block {finalized} lies below block {height}, which was read already"
            )

    async def _read(self, node: Node, first: int, finalized: int) -> tuple[int, LogRange]:
        """The last block read, and the logs up to it; half the range after each error, down to one block."""
        while True:
            last = min(first + self._range - 1, finalized)
            try:
                return last, await node.logs(self._address, first, last)
            except RpcError as error:
                if last == first:
                    raise
                self._range = (last - first + 1) // 2
                _log.info("log_range_halved", blocks=self._range, reason=error.message)
            except RpcUnavailableError:
                # Too much may have been asked for, so the next pass asks for less.
                self._range = max(1, (last - first + 1) // 2)
                raise

    async def _apply(self, epoch: int, cursor: Cursor, last: int, found: LogRange) -> None:
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            moved = await repository.advance(
                conn,
                self._chain_id,
                self._address,
                expected=cursor.next_block,
                last=found.blocks[last],
                at=self._clock(),
            )
            if not moved:
                raise leases.LeaseLostError("the indexer's cursor was moved by another process")
            await repository.add_blocks(conn, self._chain_id, found.blocks.values())
            for log in found.logs:
                if await repository.add_log(conn, self._chain_id, log):
                    event = FinalEvent(
                        chain_id=self._chain_id,
                        address=log.address,
                        block_number=log.block_number,
                        block_hash=log.block_hash,
                        block_time=found.blocks[log.block_number].mined_at,
                        transaction_hash=log.transaction_hash,
                        log_index=log.log_index,
                        topics=log.topics,
                        data=log.data,
                    )
                    await self._handler(conn, event)
