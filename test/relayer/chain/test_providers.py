"""Which of several real nodes are believed, read from, and sent to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from eth_account import Account
from prometheus_client import CollectorRegistry

from relayer.chain.answers import AnswerClass
from relayer.chain.depth import DepthFinalRpc
from relayer.chain.health import FinalityViolationError, HealthPolicy, NodeState, WrongChainError
from relayer.chain.node import Block, BlockRef, Node, Sight
from relayer.chain.provider_metrics import ProviderMetrics
from relayer.chain.providers import Providers
from relayer.chain.rpc import JsonRpc, RpcThrottledError, RpcUnavailableError
from relayer.chain.throttle import Throttle, says_too_many
from relayer.local.anvil import CHAIN_ID, Anvil
from relayer.local.process import free_port

from .conftest import TestClock

POLICY = HealthPolicy(fresh_for=timedelta(0), look_within=timedelta(seconds=10))
TIMEOUT = timedelta(seconds=10)
# anvil's first account, known to everyone.
KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"


class Line(JsonRpc):
    """The line to a node, which a test cuts: a node that is stopped would come back as another chain."""

    cut = False
    garbles: Mapping[str, Any] = {}

    async def _answer(self, body: Any, limit: int) -> Any:
        if self.cut:
            raise self._silent("the line is cut")
        answers = await super()._answer(body, limit)
        if not self.garbles:
            return answers
        return [
            one | {"result": {**one["result"], **self.garbles}} if isinstance(one["result"], dict) else one
            for one in answers
        ]


@dataclass
class Pool:
    """Two nodes that know nothing of each other, each with the same blocks until a test parts them."""

    first: Line
    second: Line
    servers: list[Anvil]
    clock: TestClock = field(default_factory=TestClock)

    def providers(
        self, *nodes: JsonRpc, policy: HealthPolicy = POLICY, chain_id: int = CHAIN_ID
    ) -> Providers:
        return Providers(nodes or [self.first, self.second], chain_id, policy=policy, clock=self.clock)


@pytest.fixture
async def pool(make_anvil: Callable[..., Anvil]) -> AsyncIterator[Pool]:
    servers = [make_anvil("auto"), make_anvil("auto")]
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(Line(one.rpc_url, TIMEOUT)) for one in servers]
        for rpc in (first, second):
            await rpc.call("anvil_mine", [hex(10)])
        yield Pool(first, second, servers)


def states(providers: Providers) -> list[NodeState]:
    return [state for _, state, _ in providers.health()]


async def test_reads_come_from_the_first_and_go_over_to_the_next_when_it_dies(pool: Pool) -> None:
    providers = pool.providers()
    with pytest.raises(RpcUnavailableError, match="nobody has looked at it yet"):
        providers.pinned()
    await providers.look()
    assert providers.usable() == (pool.first, pool.second)
    pool.servers[0].stop()
    await providers.look()
    assert states(providers) == [NodeState.SILENT, NodeState.ALIVE]
    assert providers.pinned() is pool.second
    pool.second.cut = True
    await providers.look()
    with pytest.raises(RpcUnavailableError, match=rf"{pool.first.address}: no answer.*{pool.second.address}"):
        providers.pinned()
    # With nobody else to ask, the pause of a node that fell silent protects nobody.
    for _ in range(3):
        await providers.look()
    pool.second.cut = False
    await providers.look()
    assert providers.pinned() is pool.second


@pytest.mark.parametrize(
    "garbles", [{"hash": None}, {"parentHash": 7}, {"timestamp": f"0x{'f' * 20}"}, {"number": {}}]
)
async def test_a_node_that_answers_garbage_keeps_nobody_from_the_others(
    pool: Pool, garbles: dict[str, Any]
) -> None:
    pool.first.garbles = garbles
    providers = pool.providers()
    await providers.look()
    assert states(providers) == [NodeState.SILENT, NodeState.ALIVE]
    assert providers.pinned() is pool.second


async def test_the_breaker_of_every_node_has_a_metric(pool: Pool) -> None:
    providers = pool.providers()
    shown = CollectorRegistry()
    shown.register(ProviderMetrics(providers))
    pool.second.cut = True
    for _ in range(3):
        await providers.look()
    assert shown.get_sample_value("jobseal_breaker_state", {"part": pool.first.address}) == 0
    assert shown.get_sample_value("jobseal_breaker_state", {"part": pool.second.address}) == 2


async def test_three_failures_leave_a_node_alone_while_another_serves(pool: Pool) -> None:
    pool.first.cut = True
    providers = pool.providers()
    for _ in range(3):
        await providers.look()
    assert not pool.first.breaker.is_closed
    pool.first.cut = False
    await providers.look()
    assert states(providers) == [NodeState.SILENT, NodeState.ALIVE]
    pool.first.breaker._since -= 60
    await providers.look()
    assert states(providers) == [NodeState.ALIVE, NodeState.ALIVE]


async def test_what_fails_in_passes_counts_like_what_fails_in_looks(pool: Pool) -> None:
    providers = pool.providers()
    await providers.look()
    pool.first.cut = True
    for _ in range(3):
        with pytest.raises(RpcUnavailableError):
            await pool.first.call("eth_blockNumber")
    pool.first.cut = False
    await providers.look()
    assert states(providers) == [NodeState.SILENT, NodeState.ALIVE]
    assert providers.pinned() is pool.second


async def test_a_node_far_below_the_others_is_not_read_from(pool: Pool) -> None:
    providers = pool.providers()
    await pool.second.call("anvil_mine", [hex(5)])
    await providers.look()
    assert states(providers) == [NodeState.ALIVE, NodeState.ALIVE]
    await pool.second.call("anvil_mine", [hex(1)])
    await providers.look()
    assert providers.health()[0] == (pool.first.address, NodeState.LAGGING, 6)
    assert providers.usable() == (pool.second,)
    await pool.first.call("anvil_mine", [hex(3)])
    await providers.look()
    assert providers.pinned() is pool.first


async def test_a_head_that_stands_still_counts_only_beside_one_that_moves(pool: Pool) -> None:
    providers = pool.providers()
    await providers.look()
    pool.clock.wait(minutes=4)
    await pool.second.call("anvil_mine", [hex(1)])
    await providers.look()
    assert states(providers) == [NodeState.NO_NEW_HEADS, NodeState.ALIVE]
    assert providers.pinned() is pool.second
    pool.clock.wait(minutes=4)
    await providers.look()
    assert states(providers) == [NodeState.NO_NEW_HEADS, NodeState.NO_NEW_HEADS]
    assert providers.usable() == (pool.first, pool.second)


async def test_a_node_of_another_chain_is_not_used_until_it_answers_right(pool: Pool) -> None:
    await pool.first.call("anvil_setChainId", [7])
    providers = pool.providers()
    await providers.look()
    assert states(providers) == [NodeState.WRONG_CHAIN, NodeState.ALIVE]
    assert providers.pinned() is pool.second
    await pool.second.call("anvil_setChainId", [8])
    await providers.look()
    with pytest.raises(WrongChainError, match=r"of chain 7, not 31337;.*of chain 8.*JOBSEAL_CHAIN_RPC_URLS"):
        providers.pinned()
    await pool.first.call("anvil_setChainId", [CHAIN_ID])
    await providers.look()
    assert providers.pinned() is pool.first


async def test_a_node_whose_final_block_changed_is_never_used_again(pool: Pool) -> None:
    providers = pool.providers()
    await providers.look()
    await pool.first.call("anvil_reorg", [6, []])
    await providers.look()
    assert states(providers) == [NodeState.FINALITY_BACK, NodeState.ALIVE]
    await pool.first.call("anvil_mine", [hex(3)])
    await pool.second.call("anvil_mine", [hex(3)])
    await providers.look()
    assert providers.usable() == (pool.second,)
    providers.distrust(pool.second, "its block 3 is another one")
    with pytest.raises(FinalityViolationError, match="its block 3 is another one; check that chain 31337"):
        providers.pinned()


async def test_a_node_is_held_to_what_is_on_record_as_final_by_who_sees_it_first(pool: Pool) -> None:
    known = await Node(pool.second).block("finalized")
    assert known is not None
    await pool.first.call("anvil_reorg", [6, []])
    restarted = pool.providers()
    restarted.remember(BlockRef(known.number, known.hash))
    await restarted.look()
    assert states(restarted) == [NodeState.FINALITY_BACK, NodeState.ALIVE]
    # One that is merely behind says nothing about that block.
    await pool.second.call("anvil_rollback", [4])
    behind = pool.providers(pool.second)
    behind.remember(BlockRef(known.number, known.hash))
    await behind.look()
    assert states(behind) == [NodeState.ALIVE]


async def test_a_node_is_not_held_to_what_it_was_not_asked_for(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    providers = pool.providers(pool.first)
    first, later = [await Node(pool.first).block(height) for height in (3, 4)]
    assert first is not None
    assert later is not None
    providers.remember(BlockRef(first.number, first.hash))
    sight = Node.sight

    async def slow(self: Node, remembered: Block | BlockRef | None) -> Sight:
        seen = await sight(self, remembered)
        # Somebody else has read on meanwhile.
        providers.remember(BlockRef(later.number, later.hash))
        return seen

    monkeypatch.setattr(Node, "sight", slow)
    await providers.look()
    assert states(providers) == [NodeState.ALIVE]


async def test_a_final_height_that_falls_back_is_waited_for(pool: Pool) -> None:
    providers = pool.providers()
    await providers.look()
    await pool.first.call("anvil_rollback", [2])
    await providers.look()
    assert states(providers)[0] is NodeState.FINALITY_BACK
    await pool.first.call("anvil_mine", [hex(2)])
    await providers.look()
    assert providers.pinned() is pool.first


async def test_a_stall_of_finality_is_noticed(pool: Pool) -> None:
    providers = pool.providers(pool.first)
    await providers.look()
    assert not providers.finality_stalled
    # Two blocks, each an hour after the one before it: the finalized block is two hours older than the latest.
    await pool.first.call("anvil_mine", [hex(2), hex(3600)])
    await providers.look()
    assert providers.finality_stalled
    assert states(providers) == [NodeState.ALIVE]


async def test_final_by_depth_where_the_chain_has_no_tag(pool: Pool) -> None:
    async with DepthFinalRpc(pool.first.address, TIMEOUT, 6) as rpc:
        node = Node(rpc)
        latest, finalized = await node.block("latest"), await node.block("finalized")
        assert latest is not None
        assert finalized is not None
        assert latest.number - finalized.number == 6
        account = await node.account(b"\x01" * 20)
        assert account.latest.number - account.finalized.number == 6
        providers = pool.providers(rpc)
        await providers.look()
        assert providers.pinned() is rpc


class Tagless(JsonRpc):
    """Answers as a node whose chain has no finalized blocks."""

    async def batch(self, requests: Sequence[Any]) -> list[Any]:
        return await super().batch(
            [
                ("eth_nothing", ()) if "finalized" in params else (method, params)
                for method, params in requests
            ]
        )


async def test_a_node_without_the_tag_says_which_setting_helps(pool: Pool) -> None:
    async with Tagless(pool.first.address, TIMEOUT) as rpc:
        providers = pool.providers(rpc)
        await providers.look()
        assert states(providers) == [NodeState.REFUSING]
        with pytest.raises(RpcUnavailableError, match="set JOBSEAL_CHAIN_FINALITY_DEPTH"):
            providers.pinned()


class Busy(JsonRpc):
    """A node behind an address that refuses to be asked so much."""

    busy = True

    async def _answer(self, body: Any, limit: int) -> Any:
        if self.busy:
            raise self._throttled("HTTP status 429", "30")
        return await super()._answer(body, limit)


async def test_a_node_that_was_asked_too_much_is_left_alone(pool: Pool) -> None:
    async with Busy(pool.first.address, TIMEOUT) as rpc:
        providers = pool.providers(rpc, pool.second)
        await providers.look()
        rpc.busy = False
        await providers.look()
        assert states(providers) == [NodeState.THROTTLED, NodeState.ALIVE]
        assert 29 < rpc.throttle.seconds <= 30
        assert rpc.breaker.is_closed


async def test_a_refusal_among_answers_makes_the_pause_longer_as_well(pool: Pool) -> None:
    class Refusing(Line):
        async def _answer(self, body: Any, limit: int) -> Any:
            error = {"code": -32005, "message": "too many requests"}
            return {"jsonrpc": "2.0", "id": body["id"], "error": error}

    async with Refusing(pool.first.address, TIMEOUT) as rpc:
        for longest in (1, 2, 4):
            with pytest.raises(RpcThrottledError):
                await rpc.call("eth_chainId")
            assert longest / 2 < rpc.throttle.seconds <= longest


def test_the_pause_doubles_with_every_refusal_and_ends_with_an_answer() -> None:
    now = 0.0
    throttle = Throttle(lambda: now)
    pauses = []
    for _ in range(8):
        throttle.refused()
        pauses.append(throttle.seconds)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    throttle.passed()
    throttle.refused()
    assert throttle.seconds == 1


def test_too_many_requests_are_told_from_too_many_logs() -> None:
    assert says_too_many(429, "")
    assert says_too_many(-32005, "daily request count exceeded, request rate limited")
    assert says_too_many(-32005, "Too Many Requests")
    assert says_too_many(-32097, "Your app has exceeded its compute units per second capacity")
    assert not says_too_many(-32005, "query returned more than 10000 results")
    assert not says_too_many(-32005, "range too wide")
    assert not says_too_many(-32000, "rate limit")


async def test_every_usable_node_is_handed_the_bytes_and_speaks_for_itself(pool: Pool) -> None:
    signed = Account.from_key(KEY).sign_transaction(
        {
            "chainId": CHAIN_ID,
            "nonce": 0,
            "to": "0x" + "11" * 20,
            "value": 1,
            "gas": 21_000,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 1,
        }
    )
    raw = bytes(signed.raw_transaction)
    providers = pool.providers()
    await providers.look()
    await pool.second.call("eth_sendRawTransaction", [f"0x{raw.hex()}"])
    first, second = await providers.broadcast(raw)
    assert (first.address, first.kind, first.text) == (pool.first.address, AnswerClass.ACCEPTED, None)
    assert second.kind in (AnswerClass.KNOWN, AnswerClass.NONCE_TOO_LOW)
    pool.servers[0].stop()
    (silent, _) = await providers.broadcast(raw)
    assert silent.kind is AnswerClass.UNAVAILABLE


async def test_one_look_serves_all_who_ask_at_the_same_time(pool: Pool) -> None:
    counted = 0

    class Counted(JsonRpc):
        async def batch(self, requests: Sequence[Any]) -> list[Any]:
            nonlocal counted
            counted += 1
            return await super().batch(requests)

    async with Counted(pool.first.address, TIMEOUT) as rpc:
        providers = Providers(
            [rpc], CHAIN_ID, policy=HealthPolicy(fresh_for=timedelta(hours=1)), clock=pool.clock
        )
        await asyncio.gather(*(providers.look() for _ in range(5)))
        await providers.look()
    assert counted == 1


async def test_no_address_of_a_node_shows_its_key() -> None:
    url = f"http://user:secret@127.0.0.1:{free_port()}/v3/topsecret?key=hidden"
    async with JsonRpc(url, TIMEOUT) as rpc:
        assert "secret" not in rpc.address
        providers = Providers([rpc], CHAIN_ID, policy=POLICY, clock=TestClock())
        await providers.look()
        with pytest.raises(RpcUnavailableError) as caught:
            providers.pinned()
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert httpx2.URL(url).host in str(caught.value)


async def test_every_state_and_lag_has_a_metric(pool: Pool) -> None:
    await pool.second.call("anvil_mine", [hex(9)])
    providers = pool.providers()
    await providers.look()
    registry = CollectorRegistry()
    registry.register(ProviderMetrics(providers))
    node = {"chain": str(CHAIN_ID), "node": pool.first.address}
    assert registry.get_sample_value("jobseal_node_head_lag_blocks", node) == 9
    assert registry.get_sample_value("jobseal_node_state", node | {"state": "lagging"}) == 1
    assert registry.get_sample_value("jobseal_node_state", node | {"state": "alive"}) == 0
    assert registry.get_sample_value("jobseal_finality_stalled", {"chain": str(CHAIN_ID)}) == 0
