"""The proxy: without a fault it is the node, and each of its faults is the fault that it says it is."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random
from typing import Any

import orjson
import pytest
from faultproxy.answers import (
    SEND,
    THROTTLE,
    FalseError,
    FalseSuccess,
    Lose,
    OtherChain,
    Refuse,
)
from faultproxy.calls import Call, Loss
from faultproxy.chain import Chain
from faultproxy.logs import (
    DIALECTS,
    DOUBLED_LOGS,
    EMPTY_LOGS,
    PARTIAL_LOGS,
    SHUFFLED_LOGS,
    NoReceipts,
    RangeLimit,
    WrongBlockHash,
)
from faultproxy.pool import GethPool
from faultproxy.proxy import FaultProxy
from faultproxy.scope import Only, Sometimes
from faultproxy.transactions import hash_of
from faultproxy.view import Finality, Lag
from ground import Ground
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from relayer.chain.fee import GWEI, DynamicFee
from relayer.chain.rpc import JsonRpc, RpcError, RpcThrottledError, RpcUnavailableError
from relayer.chain.transaction import TransactionFields
from relayer.local.anvil import CHAIN_ID

GAS = 100_000


@pytest.fixture
async def rpc(proxy: FaultProxy) -> AsyncIterator[JsonRpc]:
    # Long enough for a loaded machine, short enough for the one test that waits for it.
    async with JsonRpc(proxy.url, timedelta(seconds=1.5)) as client:
        yield client


async def transaction(here: Ground, nonce: int = 0, max_fee: int = 100 * GWEI, tip: int = GWEI) -> str:
    """A transfer of nothing to the account itself."""
    fields = TransactionFields(CHAIN_ID, nonce, here.ours, b"", GAS, DynamicFee(max_fee, tip))
    return f"0x{(await here.signer().sign(fields)).hex()}"


async def nonce(proxy: FaultProxy, here: Ground) -> int:
    return int(await proxy.call("eth_getTransactionCount", f"0x{here.ours.hex()}", "latest"), 16)


async def test_without_a_fault_it_is_the_node(proxy: FaultProxy, rpc: JsonRpc, here: Ground) -> None:
    height = await rpc.call("eth_blockNumber")
    assert height == here.rpc("eth_blockNumber")
    assert await rpc.batch([("eth_blockNumber", ()), ("eth_chainId", ())]) == [height, hex(CHAIN_ID)]
    with pytest.raises(RpcError):
        await rpc.call("eth_nothing")
    assert [call.method for call in proxy.calls] == [
        "eth_blockNumber",
        "eth_blockNumber",
        "eth_chainId",
        "eth_nothing",
    ]


# --- sending -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", Loss)
async def test_a_reply_gets_lost_after_the_call_was_carried_out(
    proxy: FaultProxy, rpc: JsonRpc, chain: Chain, here: Ground, loss: Loss
) -> None:
    with proxy.suffering(Only(Lose(loss), SEND)), pytest.raises(RpcUnavailableError):
        await rpc.call(SEND, [await transaction(here)])
    await chain.mine()
    assert await nonce(proxy, here) == 1


async def test_a_call_gets_lost_before_it_was_carried_out(
    proxy: FaultProxy, rpc: JsonRpc, chain: Chain, here: Ground
) -> None:
    with proxy.suffering(Lose(Loss.CLOSED, before=True)), pytest.raises(RpcUnavailableError):
        await rpc.call(SEND, [await transaction(here)])
    await chain.mine()
    assert await nonce(proxy, here) == 0


async def test_a_false_success_sends_nothing(
    proxy: FaultProxy, rpc: JsonRpc, chain: Chain, here: Ground
) -> None:
    raw = await transaction(here)
    with proxy.suffering(Only(FalseSuccess(), SEND)):
        assert await rpc.call(SEND, [raw]) == hash_of(raw)
    await chain.mine()
    assert await nonce(proxy, here) == 0
    assert await rpc.call(SEND, [raw]) == hash_of(raw)


async def test_a_false_error_has_sent(proxy: FaultProxy, rpc: JsonRpc, chain: Chain, here: Ground) -> None:
    with proxy.suffering(Only(FalseError("internal error"), SEND)), pytest.raises(RpcError, match="internal"):
        await rpc.call(SEND, [await transaction(here)])
    await chain.mine()
    assert await nonce(proxy, here) == 1


async def test_a_refusal_has_not_sent(proxy: FaultProxy, rpc: JsonRpc, chain: Chain, here: Ground) -> None:
    with proxy.suffering(Only(Refuse("txpool is full"), SEND)), pytest.raises(RpcError, match="is full"):
        await rpc.call(SEND, [await transaction(here)])
    await chain.mine()
    assert await nonce(proxy, here) == 0


async def test_a_throttle_and_another_chain(proxy: FaultProxy, rpc: JsonRpc) -> None:
    with proxy.suffering(THROTTLE), pytest.raises(RpcThrottledError, match="rate limited"):
        await rpc.call("eth_blockNumber")
    with proxy.suffering(OtherChain(1)):
        assert await rpc.call("eth_chainId") == "0x1"
        assert await rpc.call("net_version") == "1"


async def test_a_node_goes_down_and_comes_back_at_its_address(proxy: FaultProxy, rpc: JsonRpc) -> None:
    await rpc.call("eth_blockNumber")
    await proxy.down()
    with pytest.raises(RpcUnavailableError):
        await rpc.call("eth_blockNumber")
    await proxy.up()
    await rpc.call("eth_blockNumber")


async def test_faults_strike_when_they_are_told_to(proxy: FaultProxy, rpc: JsonRpc) -> None:
    async def failures() -> list[bool]:
        failed = []
        for _ in range(8):
            try:
                await rpc.call("eth_blockNumber")
                failed.append(False)
            except RpcError:
                failed.append(True)
        return failed

    with proxy.suffering(Only(Refuse("no"), "eth_blockNumber", skip=1, times=2)):
        assert await failures() == [False, True, True] + 5 * [False]
        await rpc.call("eth_chainId")
    runs = []
    for seed in (1, 1, 2):
        random = Random(seed)  # noqa: S311 - a seed repeats a run
        with proxy.suffering(Sometimes(Refuse("no"), 0.5, random)):
            runs.append(await failures())
    assert runs[0] == runs[1] != runs[2]


# --- the pool ----------------------------------------------------------------------------------------------


@pytest.fixture
def pool(proxy: FaultProxy) -> GethPool:
    one = GethPool(proxy._node)
    proxy.faults.append(one)
    return one


@pytest.mark.usefixtures("pool")
async def test_a_replacement_must_pay_a_tenth_more_in_both_fees(
    proxy: FaultProxy, rpc: JsonRpc, chain: Chain, here: Ground
) -> None:
    first = await transaction(here, max_fee=100 * GWEI, tip=10 * GWEI)
    await rpc.call(SEND, [first])
    with pytest.raises(RpcError, match="already known"):
        await rpc.call(SEND, [first])
    for max_fee, tip in ((109, 11), (110, 10), (200, 10)):
        with pytest.raises(RpcError, match="replacement transaction underpriced"):
            await rpc.call(SEND, [await transaction(here, max_fee=max_fee * GWEI, tip=tip * GWEI)])
    better = await transaction(here, max_fee=110 * GWEI, tip=11 * GWEI)
    await rpc.call(SEND, [better])
    await chain.mine()
    assert await rpc.call("eth_getTransactionReceipt", [hash_of(first)]) is None
    assert (await rpc.call("eth_getTransactionReceipt", [hash_of(better)]))["status"] == "0x1"
    with pytest.raises(RpcError, match="nonce too low"):
        await rpc.call(SEND, [first])
    assert await nonce(proxy, here) == 1


async def test_what_is_priced_out_stays_and_lands_when_the_base_fee_falls(
    pool: GethPool, rpc: JsonRpc, chain: Chain, here: Ground
) -> None:
    cheap = await transaction(here, max_fee=2 * GWEI)
    await chain.set_base_fee(GWEI)
    await chain.mine()
    await rpc.call(SEND, [cheap])
    await chain.set_base_fee(50 * GWEI)
    await chain.mine()
    await pool.settle()
    assert (await rpc.call("eth_getTransactionByHash", [hash_of(cheap)]))["blockNumber"] is None
    dear = await transaction(here, nonce=1, max_fee=3 * GWEI)
    assert await rpc.call(SEND, [dear]) == hash_of(dear)
    await chain.set_base_fee(GWEI)
    await chain.mine()
    await pool.settle()
    await chain.mine()
    assert [
        (await rpc.call("eth_getTransactionReceipt", [hash_of(one)]))["status"] for one in (cheap, dear)
    ] == ["0x1", "0x1"]


async def test_what_a_reorganisation_frees_goes_back_and_what_is_evicted_does_not(
    pool: GethPool, proxy: FaultProxy, rpc: JsonRpc, chain: Chain, here: Ground
) -> None:
    await rpc.call(SEND, [await transaction(here)])
    await chain.mine()
    await chain.reorganise(1)
    assert await nonce(proxy, here) == 0
    await pool.settle()
    await chain.mine()
    assert await nonce(proxy, here) == 1
    await rpc.call(SEND, [await transaction(here, nonce=1)])
    pool.forget()
    await chain.drop_transactions()
    await pool.settle()
    await chain.mine()
    assert await nonce(proxy, here) == 1


# --- reading -----------------------------------------------------------------------------------------------


async def pauses(chain: Chain, count: int) -> tuple[int, int]:
    """Blocks with a log of the registry each; the first and the last of them."""
    for turn in range(count):
        await chain.administer("unpause()" if turn % 2 else "pause()")
        await chain.mine()
    height = await chain.height()
    return height - count + 1, height


def logs_query(here: Ground, first: int, last: int) -> list[Any]:
    return [{"address": f"0x{here.registry.hex()}", "fromBlock": hex(first), "toBlock": hex(last)}]


async def test_logs_are_lost_doubled_and_turned_round(
    proxy: FaultProxy, rpc: JsonRpc, chain: Chain, here: Ground
) -> None:
    query = logs_query(here, *await pauses(chain, 4))
    logs = await rpc.call("eth_getLogs", query)
    assert len(logs) == 4
    for fault, seen in (
        (EMPTY_LOGS, []),
        (PARTIAL_LOGS, logs[:2]),
        (SHUFFLED_LOGS, logs[::-1]),
        (DOUBLED_LOGS, sorted(2 * logs, key=lambda log: int(log["blockNumber"], 16))),
    ):
        with proxy.suffering(fault):
            assert await rpc.call("eth_getLogs", query) == seen


async def test_hashes_are_wrong_and_receipts_late(
    proxy: FaultProxy, rpc: JsonRpc, chain: Chain, here: Ground
) -> None:
    query = logs_query(here, *await pauses(chain, 1))
    (log,) = await rpc.call("eth_getLogs", query)
    receipt = [log["transactionHash"]]
    with proxy.suffering(WrongBlockHash()):
        (wrong,) = await rpc.call("eth_getLogs", query)
        assert len(wrong["blockHash"]) == 66
        assert wrong["blockHash"] != log["blockHash"]
        assert (await rpc.call("eth_getTransactionReceipt", receipt))["blockHash"] == wrong["blockHash"]
    with proxy.suffering(NoReceipts()):
        assert await rpc.call("eth_getTransactionReceipt", receipt) is None
    assert (await rpc.call("eth_getTransactionReceipt", receipt))["blockHash"] == log["blockHash"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_ranges_are_limited_in_several_dialects(
    proxy: FaultProxy, rpc: JsonRpc, chain: Chain, here: Ground, dialect: str
) -> None:
    height = await chain.height()
    with proxy.suffering(RangeLimit(5, dialect)):
        assert await rpc.call("eth_getLogs", logs_query(here, height - 4, height)) == []
        with pytest.raises(RpcError, match=re.compile("range|10000 results")):
            await rpc.call("eth_getLogs", logs_query(here, height - 5, height))


async def test_a_lagging_node_has_not_seen_the_last_blocks(
    proxy: FaultProxy, rpc: JsonRpc, chain: Chain, here: Ground
) -> None:
    raw = await transaction(here)
    await rpc.call(SEND, [raw])
    first, height = await pauses(chain, 3)
    final = int((await rpc.call("eth_getBlockByNumber", ["finalized", False]))["number"], 16)
    block = await rpc.call("eth_getBlockByNumber", [hex(height), False])
    with proxy.suffering(Lag(3)):
        assert int(await rpc.call("eth_blockNumber"), 16) == height - 3
        latest = await rpc.call("eth_getBlockByNumber", ["latest", False])
        assert int(latest["number"], 16) == height - 3
        behind = await rpc.call("eth_getBlockByNumber", ["finalized", False])
        assert int(behind["number"], 16) == final - 3
        assert await rpc.call("eth_getBlockByNumber", [hex(height), False]) is None
        assert await rpc.call("eth_getBlockByHash", [block["hash"], False]) is None
        assert await rpc.call("eth_getTransactionReceipt", [hash_of(raw)]) is None
        assert await rpc.call("eth_getTransactionByHash", [hash_of(raw)]) is None
        assert await rpc.call("eth_getTransactionCount", [f"0x{here.ours.hex()}", "latest"]) == "0x0"
        assert await rpc.call("eth_getLogs", logs_query(here, first, height)) == []
        assert await rpc.call("eth_getLogs", logs_query(here, first - 2, height)) == []
        with pytest.raises(RpcError, match="header not found"):
            await rpc.call("eth_getBalance", [f"0x{here.ours.hex()}", hex(height)])
        with pytest.raises(RpcError, match="unknown block"):
            await rpc.call("eth_getLogs", [{"blockHash": block["hash"]}])
    assert await rpc.call("eth_getTransactionCount", [f"0x{here.ours.hex()}", "latest"]) == "0x1"


async def test_finality_is_as_deep_as_wanted_stalls_and_goes_back(
    proxy: FaultProxy, rpc: JsonRpc, chain: Chain
) -> None:
    finality = Finality(6)
    proxy.faults.append(finality)

    async def behind() -> int:
        block = await rpc.call("eth_getBlockByNumber", ["finalized", False])
        return await chain.height() - int(block["number"], 16)

    assert await behind() == 6
    finality.ceiling = await chain.height() - 6
    await chain.mine(3)
    assert await behind() == 9
    finality.ceiling -= 2
    assert await behind() == 11
    finality.ceiling = None
    assert await behind() == 6


async def test_time_and_balance_are_the_chain_s(proxy: FaultProxy, chain: Chain, here: Ground) -> None:
    async def time() -> int:
        return int((await proxy.call("eth_getBlockByNumber", "latest", False))["timestamp"], 16)

    before = await time()
    await chain.skew(3_600)
    await chain.mine()
    assert await time() - before >= 3_600
    await chain.set_balance(here.ours, 5)
    assert await proxy.call("eth_getBalance", f"0x{here.ours.hex()}", "latest") == "0x5"


# --- WebSockets --------------------------------------------------------------------------------------------


async def subscribe(client: ClientConnection) -> None:
    await client.send(
        orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}).decode()
    )
    assert "result" in orjson.loads(await client.recv())


async def heads(client: ClientConnection, count: int) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found.append(int(orjson.loads(await client.recv())["params"]["result"]["number"], 16))
    return found


async def test_sockets_are_doubled_silenced_cut_and_refused(proxy: FaultProxy, chain: Chain) -> None:
    height = await chain.height()
    async with connect(proxy.sockets.url) as client:
        await subscribe(client)
        await chain.mine()
        assert await heads(client, 1) == [height + 1]
        proxy.sockets.doubling = True
        await chain.mine()
        assert await heads(client, 2) == [height + 2, height + 2]
        proxy.sockets.doubling = False
        proxy.sockets.silent = True
        await chain.mine()
        async with connect(proxy.sockets.url) as witness:
            # The node has spoken of that block by the time that it answers another client.
            await witness.send('{"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}')
        proxy.sockets.drop()
        with pytest.raises(ConnectionClosed):
            await client.recv()
    proxy.sockets.refusing = True
    with pytest.raises(InvalidStatus):
        await connect(proxy.sockets.url)
    assert proxy.sockets.opened == 2


async def test_a_call_can_be_asked_past_the_faults(proxy: FaultProxy) -> None:
    with proxy.suffering(Refuse("no")):
        assert int(await proxy.call("eth_blockNumber"), 16) > 0
    assert proxy.calls == []
    assert Call("a") == Call("a", ())
