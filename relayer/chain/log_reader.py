"""Reading logs without believing an empty answer: from one node, and from others where the one seems to lose some.

A node behind a load balancer may answer for blocks that it does not have yet with an empty list. Three things speak
against such an answer: the finalized block of the same exchange, the bloom filter of the block's header, and what
another node says of the same block, asked by its hash.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from relayer.chain.bloom import may_hold
from relayer.chain.node import Block, Header, Log, LogRange, Node
from relayer.chain.providers import Providers
from relayer.chain.ranges import RangeSize
from relayer.chain.registry import EVENT_TOPICS
from relayer.chain.rpc import RpcError, RpcOversizedError, RpcUnavailableError

_log = structlog.get_logger()


class IndexerMetrics:
    """What the indexer counts, in a registry of its own until it is given one."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.lost_logs = Counter(
            "jobseal_indexer_lost_logs",
            "Logs that a node did not give and another node, or the block's receipts, did",
            registry=registry,
        )
        self.second_scan_differences = Counter(
            "jobseal_indexer_second_scan_differences",
            "Logs that only one of the two readings of a final range gave, by the reading that lacked them",
            ["lacking"],
            registry=registry,
        )
        self.rolled_back_blocks = Counter(
            "jobseal_indexer_rolled_back_blocks",
            "Blocks above the finalized one that were taken back",
            registry=registry,
        )
        self.reorg_depth = Histogram(
            "jobseal_indexer_reorg_depth_blocks",
            "How many blocks a reorganisation took back",
            buckets=(1, 2, 3, 6, 12, 32, 64),
            registry=registry,
        )
        self._lag_blocks = Gauge(
            "jobseal_indexer_lag_blocks",
            "Final blocks that were not read when a pass began",
            registry=registry,
        )
        self._lag_seconds = Gauge(
            "jobseal_indexer_lag_seconds",
            "By how much the last block that was read is older than the finalized one when a pass began",
            registry=registry,
        )

    def behind(self, finalized: Block, next_block: int, read: Block | None) -> None:
        """Show how far the finalized block lies beyond what is read; `read` is the last such block, if there is one."""
        self._lag_blocks.set(max(0, finalized.number - next_block + 1))
        self._lag_seconds.set((finalized.mined_at - read.mined_at).total_seconds() if read else 0)


@dataclass(frozen=True)
class FinalLogs:
    """The logs of a range of final blocks, and its last block."""

    last: int
    found: LogRange


class LogReader:
    """Reads the logs of one contract."""

    def __init__(self, providers: Providers, address: bytes, metrics: IndexerMetrics) -> None:
        self._providers = providers
        self._address = address
        self._metrics = metrics

    async def final(self, node: Node, size: RangeSize, first: int, finalized: int) -> FinalLogs:
        """Read from block `first` up to a finalized one, as far as `size` allows; after each refusal less.

        Raises:
            RpcUnavailableError: the node does not answer, or contradicts itself; the next try asks for less.
            RpcError: it refuses even the receipts of a single block.

        """
        while True:
            last = min(first + size.blocks - 1, finalized)
            started = time.monotonic()
            try:
                found = await self._range(node, first, last)
            except RpcError as error:
                if last == first:
                    return FinalLogs(last, await self._by_receipts(node, first))
                size.refused(last - first + 1, error.message)
                _log.info(
                    "log_range_refused", node=node.rpc.address, blocks=size.blocks, reason=error.message
                )
            except RpcOversizedError:
                size.refused(last - first + 1)
                if last == first:
                    raise
            except RpcUnavailableError:
                # Too much may have been asked for.
                size.refused(last - first + 1)
                raise
            else:
                size.came(last - first + 1, time.monotonic() - started)
                return FinalLogs(last, found)

    async def of_blocks(self, node: Node, blocks: Sequence[Header]) -> list[Log]:
        """Read the logs of blocks by their hashes; those whose bloom filter excludes the contract are not asked for."""
        suspects = [block for block in blocks if self._may_hold(block)]
        if not suspects:
            return []
        answers = await node.logs_of_blocks(self._address, [block.hash for block in suspects])
        logs: list[Log] = []
        for block, found in zip(suspects, answers, strict=True):
            logs += found or await self._elsewhere(node, block)
        return logs

    def _may_hold(self, block: Header) -> bool:
        return may_hold(block.bloom, self._address, EVENT_TOPICS)

    async def _range(self, node: Node, first: int, last: int) -> LogRange:
        found = await node.logs(self._address, first, last)
        with_logs = {log.block_number for log in found.logs}
        logs = list(found.logs)
        for height, block in found.blocks.items():
            if height not in with_logs and self._may_hold(block):
                logs += await self._elsewhere(node, block)
        if len(logs) == len(found.logs):
            return found
        return LogRange(tuple(sorted(logs, key=lambda log: (log.block_number, log.log_index))), found.blocks)

    async def _by_receipts(self, node: Node, height: int) -> LogRange:
        block = (await node.headers([height])).get(height)
        if block is None:
            raise node.rpc.nonsense(f"block {height} is missing below its finalized block")
        return LogRange(await node.logs_of_receipts(self._address, block), {height: block})

    async def _elsewhere(self, node: Node, block: Header) -> tuple[Log, ...]:
        """What another node gives for a block whose filter promises logs; where there is none, the block's receipts."""
        others = [rpc for rpc in self._providers.usable() if rpc is not node.rpc]
        logs: tuple[Log, ...] = ()
        asked = False
        for rpc in others:
            try:
                (logs,) = await Node(rpc).logs_of_blocks(self._address, [block.hash])
                asked = True
            except (RpcError, RpcUnavailableError):
                continue
            if logs:
                break
        if not asked:
            try:
                logs = await node.logs_of_receipts(self._address, block)
            except RpcError:
                # It has neither; the second reading of the range is what is left.
                _log.warning("empty_logs_not_checked", node=node.rpc.address, block=block.number)
        if logs:
            self._metrics.lost_logs.inc(len(logs))
            _log.error("logs_lost_by_node", node=node.rpc.address, block=block.number, logs=len(logs))
        return logs
