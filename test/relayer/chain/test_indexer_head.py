"""The indexer above the finalized block, beside nodes that lose logs, and where there are no logs at all."""

from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from relayer.chain.calls import FinalEvent, SoftEvent
from relayer.chain.health import FinalityViolationError
from relayer.chain.indexer import Indexer
from relayer.chain.log_reader import IndexerMetrics
from relayer.chain.node import Block, Node
from relayer.chain.registry import BATCH_CONFIRMED_TOPIC
from relayer.chain.rpc import JsonRpc, Request, RpcError, RpcUnavailableError
from relayer.chain.second_scan import SecondScanPolicy
from relayer.chain.slot_repository import Connection
from relayer.local.anvil import CHAIN_ID

from .nodes import ForkedRpc


class Watcher:
    """An indexer that keeps what it is told, early and for good."""

    def __init__(self, chain: Any, *nodes: JsonRpc, second: SecondScanPolicy | None = None) -> None:
        self.final: list[bytes] = []
        self.told: list[tuple[str, bytes]] = []
        self.heads: list[tuple[int, bool]] = []
        self.lost: list[int] = []
        self.shown = CollectorRegistry()
        self.chain = chain
        self.indexer = Indexer(
            chain.db,
            chain.providers(*nodes),
            chain_id=CHAIN_ID,
            address=chain.address,
            first_block=chain.first_block,
            handler=self.handle,
            clock=chain.clock,
            head=self,
            lost=self,
            second=second,
            metrics=IndexerMetrics(self.shown),
        )

    async def handle(self, conn: Connection, event: FinalEvent) -> None:
        if event.topics[0] == BATCH_CONFIRMED_TOPIC:
            self.final.append(event.topics[1])

    async def seen(self, conn: Connection, event: SoftEvent) -> None:
        if event.topics[0] == BATCH_CONFIRMED_TOPIC:
            self.told.append(("seen", event.block_hash))

    async def undone(self, conn: Connection, event: SoftEvent) -> None:
        if event.topics[0] == BATCH_CONFIRMED_TOPIC:
            self.told.append(("undone", event.block_hash))

    async def at_head(self, node: Node, head: Block, epoch: int, *, touched: bool) -> None:
        self.heads.append((head.number, touched))

    async def logs_lost(self, node: Node, finalized: Block, epoch: int) -> int:
        self.lost.append(finalized.number)
        return 0

    async def catch_up(self, epoch: int) -> None:
        while await self.indexer.run_pass(epoch):
            pass

    def counted(self, name: str) -> float:
        return sum(
            sample.value
            for metric in self.shown.collect()
            for sample in metric.samples
            if sample.name == name
        )


async def confirm(chain: Any) -> tuple[bytes, bytes]:
    """A confirmed batch at the head: its root, and the hash of its block."""
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    await chain.sender().run_pass(epoch)
    await chain.mine()
    query = {
        "address": f"0x{chain.address.hex()}",
        "fromBlock": "0x0",
        "topics": [None, f"0x{seal.root.hex()}"],
    }
    (log,) = await chain.rpc.call("eth_getLogs", [query])
    return seal.root, bytes.fromhex(log["blockHash"][2:])


async def test_an_event_is_seen_early_taken_back_with_its_block_and_seen_again(chain: Any) -> None:
    # Far enough from the first blocks that nothing final is touched.
    await chain.mine(5)
    epoch = await chain.lease("indexer")
    watcher = Watcher(chain)
    await watcher.catch_up(epoch)
    assert watcher.heads[-1][1] or watcher.heads[0][1]
    snapshot = await chain.rpc.call("evm_snapshot")
    root, first = await confirm(chain)
    await watcher.catch_up(epoch)
    assert (watcher.told, watcher.final) == ([("seen", first)], [])
    assert await watcher.indexer.run_pass(epoch) == 0
    assert watcher.heads[-1][1] is False

    # The chain changes while nobody looks: a successor finds it out by the ancestor that both have.
    assert await chain.rpc.call("evm_revert", [snapshot])
    await chain.rpc.call("anvil_mine", [hex(2), hex(7)])
    successor = Watcher(chain)
    await successor.catch_up(epoch)
    assert successor.told == [("undone", first)]
    taken_back = successor.counted("jobseal_indexer_rolled_back_blocks_total")
    assert taken_back >= 1
    assert successor.counted("jobseal_indexer_reorg_depth_blocks_sum") == taken_back
    assert await chain.rows("SELECT DISTINCT canonical FROM event_logs WHERE NOT finalized") == [(False,)]

    # The same transaction again, in another block, and this time for good.
    chain.clock.wait(minutes=1)
    await chain.sender().run_pass(await chain.lease("sender"))
    await chain.mine()
    await successor.catch_up(epoch)
    (_, (what, second)) = successor.told
    assert what == "seen"
    assert second != first
    await chain.mine(2)
    await successor.catch_up(epoch)
    assert successor.final == [root]
    assert len(successor.told) == 2
    ((open_blocks,),) = await chain.rows(
        "SELECT count(*) FROM block_refs WHERE NOT finalized AND canonical AND "
        "number < (SELECT next_block FROM cursors)"
    )
    assert open_blocks == 0


class Forgetful(JsonRpc):
    """Answers for logs as a node that does not have them yet; without its filters nothing speaks against it."""

    hides_filters = False
    forgets = True

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        answers = await super().batch(requests)
        for at, (method, _) in enumerate(requests):
            if self.forgets and method == "eth_getLogs":
                answers[at] = []
            elif self.hides_filters and method == "eth_getBlockByNumber" and answers[at]:
                answers[at] |= {"logsBloom": f"0x{bytes(256).hex()}"}
        return answers


async def test_how_far_it_lies_behind_is_shown(chain: Any) -> None:
    epoch = await chain.lease("indexer")
    watcher = Watcher(chain)
    await watcher.catch_up(epoch)
    await chain.rpc.call("anvil_mine", [hex(40), hex(5)])
    await watcher.indexer.run_pass(epoch)
    assert watcher.counted("jobseal_indexer_lag_blocks") == 40
    # Two of the final blocks were made before, within moments.
    assert 38 * 5 <= watcher.counted("jobseal_indexer_lag_seconds") < 40 * 5
    await watcher.indexer.run_pass(epoch)
    assert (
        watcher.counted("jobseal_indexer_lag_blocks") == watcher.counted("jobseal_indexer_lag_seconds") == 0
    )


async def test_logs_that_a_node_has_lost_come_from_another_or_from_its_receipts(chain: Any) -> None:
    root, block = await confirm(chain)
    epoch = await chain.lease("indexer")
    async with Forgetful(chain.rpc.address, chain.request_timeout) as forgetful:
        alone = Watcher(chain, forgetful)
        await alone.catch_up(epoch)
        assert alone.told == [("seen", block)]
        await chain.mine(2)
        beside = Watcher(chain, forgetful, chain.rpc)
        await beside.catch_up(epoch)
    assert beside.final == [root]
    assert alone.counted("jobseal_indexer_lost_logs_total") >= 1
    assert beside.counted("jobseal_indexer_lost_logs_total") >= 1


async def test_logs_that_were_seen_early_are_not_forgotten_when_they_are_final(chain: Any) -> None:
    root, _ = await confirm(chain)
    epoch = await chain.lease("indexer")
    async with Forgetful(chain.rpc.address, chain.request_timeout) as rpc:
        rpc.hides_filters = True
        rpc.forgets = False
        watcher = Watcher(chain, rpc)
        # Without filters nothing is seen early; with them it is.
        rpc.hides_filters = False
        await watcher.catch_up(epoch)
        assert [what for what, _ in watcher.told] == ["seen"]
        await chain.mine(2)
        rpc.hides_filters = rpc.forgets = True
        with pytest.raises(RpcUnavailableError, match="were seen before, are missing now"):
            await watcher.catch_up(epoch)
        assert watcher.final == []
        # Beside another node that is no trouble.
        beside = Watcher(chain, rpc, chain.rpc)
        await beside.catch_up(epoch)
    assert beside.final == [root]


async def test_the_second_reading_finds_what_the_first_lost(chain: Any) -> None:
    root, _ = await confirm(chain)
    await chain.mine(2)
    epoch = await chain.lease("indexer")
    async with Forgetful(chain.rpc.address, chain.request_timeout) as forgetful:
        forgetful.hides_filters = True
        policy = SecondScanPolicy(blocks=20)
        watcher = Watcher(chain, forgetful, chain.rpc, second=policy)
        await watcher.catch_up(epoch)
        assert watcher.final == []
        await chain.mine(25)
        await watcher.catch_up(epoch)
        assert watcher.final == [root]
        assert watcher.counted("jobseal_indexer_second_scan_differences_total") >= 1
        # By time, where no blocks follow; and nothing is found twice.
        chain.clock.wait(minutes=11)
        await watcher.catch_up(epoch)
        ((second, following),) = await chain.rows("SELECT second_block, next_block FROM cursors")
        assert second == following
    assert watcher.final == [root]


async def test_the_second_reading_looks_at_the_filter_of_every_block_of_a_long_range(chain: Any) -> None:
    root, _ = await confirm(chain)
    await chain.mine(600)
    epoch = await chain.lease("indexer")
    async with Forgetful(chain.rpc.address, chain.request_timeout) as alone:
        watcher = Watcher(chain, alone, second=SecondScanPolicy(blocks=20))
        await watcher.catch_up(epoch)
    assert watcher.final == [root]
    assert watcher.counted("jobseal_indexer_lost_logs_total") >= 1
    assert watcher.counted("jobseal_indexer_second_scan_differences_total") >= 1


class Blind(JsonRpc):
    """Refuses logs, also of a single block, and on demand receipts too."""

    gives_receipts = True

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        for method, _ in requests:
            if method == "eth_getLogs" or (method == "eth_getTransactionReceipt" and not self.gives_receipts):
                raise RpcError(self.address, method, {"code": -32000, "message": "query timeout exceeded"})
        return await super().batch(requests)

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        if method in ("eth_getBlockReceipts", "eth_getBlockByHash") and not self.gives_receipts:
            raise RpcError(self.address, method, {"code": -32601, "message": "method not found"})
        return await super().call(method, params)


async def test_a_block_whose_logs_are_refused_is_read_from_its_receipts(chain: Any) -> None:
    root, _ = await confirm(chain)
    await chain.mine(2)
    epoch = await chain.lease("indexer")
    async with Blind(chain.rpc.address, chain.request_timeout) as rpc:
        watcher = Watcher(chain, rpc)
        # What lies above the finalized block needs logs by hash, which this node does not give.
        watcher.indexer._follower = None
        await watcher.catch_up(epoch)
        assert watcher.final == [root]
        await confirm(chain)
        await chain.mine(2)
        rpc.gives_receipts = False
        with pytest.raises(RpcError, match=r"query timeout exceeded|method not found"):
            await watcher.catch_up(epoch)
    assert watcher.lost


def fork(chain: Any, first: int) -> ForkedRpc:
    return ForkedRpc(chain.rpc.address, chain.address, first, [BATCH_CONFIRMED_TOPIC, *[bytes(32)] * 3])


async def height(chain: Any) -> int:
    return int(await chain.rpc.call("eth_blockNumber"), 16)


async def test_the_second_reading_believes_no_node_that_has_other_blocks(chain: Any) -> None:
    epoch = await chain.lease("indexer")
    async with fork(chain, await height(chain) + 1) as forked:
        await chain.mine(20)
        watcher = Watcher(chain, chain.rpc, forked, second=SecondScanPolicy(blocks=5))
        with pytest.raises(FinalityViolationError, match="check which of them is right"):
            await watcher.catch_up(epoch)
        assert watcher.final == []


async def test_a_node_that_stands_in_has_the_blocks_that_were_read_before(chain: Any) -> None:
    epoch = await chain.lease("indexer")
    forked_at = await height(chain) + 1
    await chain.mine(10)
    await Watcher(chain).catch_up(epoch)
    await chain.mine(10)
    async with (
        Blind(chain.rpc.address, chain.request_timeout) as blind,
        fork(chain, forked_at) as forked,
    ):
        blind.gives_receipts = False
        watcher = Watcher(chain, blind, forked)
        with pytest.raises(RpcUnavailableError, match="was final as"):
            await watcher.catch_up(epoch)
    assert watcher.final == []
