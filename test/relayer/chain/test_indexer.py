"""The indexer on a real node and the real registry: each event once, from the cursor, and only when it is final."""

from collections.abc import Sequence
from typing import Any

import pytest

from relayer.chain.calls import FinalEvent
from relayer.chain.health import FinalityViolationError
from relayer.chain.indexer import Indexer
from relayer.chain.registry import BATCH_CONFIRMED_TOPIC
from relayer.chain.rpc import JsonRpc, Request, RpcError, RpcOversizedError, RpcUnavailableError
from relayer.chain.slot_repository import Connection
from relayer.local.anvil import CHAIN_ID
from relayer.store.leases import LeaseLostError


class Follower:
    """An indexer with a handler that keeps the batches' events, or fails."""

    def __init__(self, chain: Any, rpc: JsonRpc | None = None) -> None:
        self.chain = chain
        self.events: list[FinalEvent] = []
        self.fails = False
        self.indexer = Indexer(
            chain.db,
            chain.providers(rpc),
            chain_id=CHAIN_ID,
            address=chain.address,
            first_block=chain.first_block,
            handler=self.handle,
            clock=chain.clock,
        )

    async def handle(self, conn: Connection, event: FinalEvent) -> None:
        if event.topics[0] != BATCH_CONFIRMED_TOPIC:
            return
        if self.fails:
            raise RuntimeError("the handler fails")
        self.events.append(event)

    async def catch_up(self, epoch: int) -> int:
        blocks = 0
        while done := await self.indexer.run_pass(epoch):
            blocks += done
        return blocks


async def confirm(chain: Any) -> bytes:
    """A confirmed batch whose block is not final yet, and its root."""
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    await chain.sender().run_pass(epoch)
    await chain.mine()
    await chain.sender().run_pass(epoch)
    assert isinstance(seal.root, bytes)
    return seal.root


async def test_an_event_is_applied_once_and_only_when_it_is_final(chain: Any) -> None:
    root = await confirm(chain)
    epoch = await chain.lease("indexer")
    follower = Follower(chain)
    await follower.catch_up(epoch)
    assert follower.events == []
    await chain.mine(2)
    await follower.catch_up(epoch)
    assert await follower.indexer.run_pass(epoch) == 0
    (event,) = follower.events
    decoded = chain.registry.decode_batch_confirmed(event.topics, event.data)
    assert (decoded.root, decoded.submitter, decoded.lane, decoded.jobs) == (
        root,
        chain.signer.address,
        0,
        1,
    )
    block = await chain.rpc.call("eth_getBlockByNumber", [hex(event.block_number), False])
    assert (f"0x{event.block_hash.hex()}", event.block_time.timestamp()) == (
        block["hash"],
        int(block["timestamp"], 16),
    )
    ((stored,),) = await chain.rows("SELECT count(*) FROM event_logs WHERE octet_length(topics[2]) = 32")
    assert stored >= 1


async def test_a_successor_goes_on_from_the_cursor_after_a_long_time(chain: Any) -> None:
    first = await confirm(chain)
    await chain.mine(2)
    epoch = await chain.lease("indexer")
    before = Follower(chain)
    await before.catch_up(epoch)
    second = await confirm(chain)
    await chain.mine(1500)
    third = await confirm(chain)
    await chain.mine(2)
    after = Follower(chain)
    assert await after.catch_up(epoch) > 1500
    assert [event.topics[1] for event in before.events + after.events] == [first, second, third]


async def test_a_handler_that_fails_leaves_no_trace_and_is_asked_again(chain: Any) -> None:
    await confirm(chain)
    await chain.mine(2)
    epoch = await chain.lease("indexer")
    follower = Follower(chain)
    follower.fails = True
    with pytest.raises(RuntimeError):
        await follower.catch_up(epoch)
    assert await chain.rows("SELECT 1 FROM event_logs") == []
    follower.fails = False
    await follower.catch_up(epoch)
    assert len(follower.events) == 1


class NarrowRpc(JsonRpc):
    """Refuses logs of more than some blocks, as providers do."""

    widest = 7
    too_large = False

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        for method, params in requests:
            if method == "eth_getLogs":
                query = params[0]
                if int(query["toBlock"], 16) - int(query["fromBlock"], 16) >= self.widest:
                    if self.too_large:
                        raise RpcOversizedError("the answer has more bytes than it may have")
                    raise RpcError(self.address, method, {"code": -32005, "message": "range too wide"})
        return await super().batch(requests)


@pytest.mark.parametrize("too_large", [False, True], ids=["refused", "too large"])
async def test_a_refused_range_is_halved_until_it_is_given(chain: Any, too_large: bool) -> None:
    root = await confirm(chain)
    await chain.mine(60)
    epoch = await chain.lease("indexer")
    async with NarrowRpc(chain.rpc.address, chain.request_timeout) as rpc:
        rpc.too_large = too_large
        follower = Follower(chain, rpc)
        await follower.catch_up(epoch)
    assert [event.topics[1] for event in follower.events] == [root]


async def test_another_chain_at_the_same_address_stops_it(chain: Any) -> None:
    await confirm(chain)
    await chain.mine(3)
    epoch = await chain.lease("indexer")
    follower = Follower(chain)
    await follower.catch_up(epoch)
    await chain.rpc.call("anvil_reorg", [6, []])
    # As who saw the block final himself, and as who finds it in the database.
    for one, reason in (
        (follower, r"its block \d+ was final as 0x"),
        (Follower(chain), r"31337 was final as 0x"),
    ):
        with pytest.raises(FinalityViolationError, match=reason):
            await one.indexer.run_pass(epoch)


async def test_a_node_that_lags_behind_the_cursor_is_not_believed(chain: Any) -> None:
    await chain.mine(5)
    epoch = await chain.lease("indexer")
    follower = Follower(chain)
    await follower.catch_up(epoch)
    await chain.rpc.call("anvil_rollback", [4])
    with pytest.raises(RpcUnavailableError, match="fell back below"):
        await follower.indexer.run_pass(epoch)


async def test_an_indexer_that_lost_its_lease_writes_nothing(chain: Any) -> None:
    epoch = await chain.lease("indexer")
    with pytest.raises(LeaseLostError):
        await Follower(chain).indexer.run_pass(epoch + 1)
    assert await chain.rows("SELECT 1 FROM cursors") == []
