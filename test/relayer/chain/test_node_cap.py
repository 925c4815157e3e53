"""Nodes with a cap of their own on fees, before real ones: what the market takes is sent under it, on the same nonce."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from faultproxy.pool import FeeCap
from faultproxy.proxy import FaultProxy

from relayer.chain import slot_repository
from relayer.chain.calls import Cause
from relayer.chain.fee import GWEI
from relayer.chain.keystore import KeystoreSigner
from relayer.chain.providers import Providers
from relayer.chain.rpc import JsonRpc
from relayer.chain.slot_repository import Stamp

# A batch of the tests has some 100,000 gas: its first transaction costs 35 thousandths of an ether at most.
BASE_FEE = 200 * GWEI
MILLIETHER = 10**15

Node = Callable[[int | None], Any]


@pytest.fixture
async def node(chain: Any) -> AsyncIterator[Node]:
    """A node with a cap in thousandths of an ether; None: without."""
    async with AsyncExitStack() as stack:

        async def open_node(cap: int | None) -> tuple[JsonRpc, FaultProxy]:
            proxy = await stack.enter_async_context(FaultProxy(chain.rpc.address))
            if cap is not None:
                proxy.faults.append(FeeCap(cap * MILLIETHER))
            return await stack.enter_async_context(JsonRpc(proxy.url, timedelta(seconds=20))), proxy

        await chain.rpc.call("evm_setAutomine", [False])
        await chain.rpc.call("anvil_setNextBlockBaseFeePerGas", [hex(BASE_FEE)])
        await chain.mine()
        yield open_node


async def _attempts(chain: Any) -> list[tuple[int, str]]:
    """What the whole of each transaction may cost, and what nodes said, in the order in which they were signed."""
    rows = await chain.rows(
        "SELECT gas_limit * max_fee_per_gas, last_class FROM tx_attempts ORDER BY created_at, max_fee_per_gas DESC"
    )
    return [(int(most), last_class) for most, last_class in rows]


async def test_a_transaction_above_a_node_s_cap_is_signed_anew_under_it(chain: Any, node: Node) -> None:
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    rpc, _ = await node(30)
    sender = chain.sender(rpc=rpc)
    await sender.run_pass(epoch)
    (dear, first), (cheaper, second) = await _attempts(chain)
    assert (first, second) == ("node_limit", "accepted")
    # What is named may be rounded by half of a hundredth.
    assert 24 * MILLIETHER < cheaper <= 25 * MILLIETHER < 30 * MILLIETHER < dear
    assert await chain.slots() == [(0, "broadcast", 2)]
    await chain.mine(3)
    await sender.run_pass(epoch)
    assert await chain.confirmed() == [seal.root]
    assert await chain.slots() == [(0, "final", 2)]
    assert [state for state, *_ in chain.source.told] == ["sending", "included"]


class KilledError(BaseException):
    """Ends a pass where a SIGKILL would."""


@pytest.mark.parametrize("dies", ["before it signs", "before it sends", "before it keeps the refusal"])
async def test_a_killed_sender_s_successor_goes_on_under_the_cap(
    chain: Any, node: Node, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    rpc, _ = await node(30)
    owner, name = {
        "before it signs": (KeystoreSigner, "sign"),
        "before it sends": (Providers, "broadcast"),
        "before it keeps the refusal": (slot_repository, "answered"),
    }[dies]
    does, calls = getattr(owner, name), 0

    async def die(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KilledError
        return await does(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, die)
        with pytest.raises(KilledError):
            await chain.sender(rpc=rpc).run_pass(epoch)
    sender = chain.sender(rpc=rpc)
    for _ in range(3):
        await sender.run_pass(epoch)
    await chain.mine(3)
    await sender.run_pass(epoch)
    assert await chain.confirmed() == [seal.root]
    assert [state for state, *_ in chain.source.told if state == "needs_human"] == []
    ((_, state, attempts),) = await chain.slots()
    assert (state, attempts) == ("final", 2)


async def test_a_market_above_the_cap_asks_for_a_human(chain: Any, node: Node) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    rpc, _ = await node(20)
    for _ in range(3):
        await chain.sender(rpc=rpc).run_pass(epoch)
        chain.clock.wait(minutes=5)
    assert [last_class for _, last_class in await _attempts(chain)] == ["node_limit"]
    (state, refusal) = chain.source.told[-1]
    assert (state, refusal.cause) == ("needs_human", Cause.NODE_LIMIT)
    assert "exceeds the configured cap (0.02 ether)" in refusal.text


async def test_a_cap_that_is_lower_than_its_node_says_asks_for_a_human(chain: Any, node: Node) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    rpc, proxy = await node(30)
    proxy.faults.append(FeeCap(10 * MILLIETHER))
    for _ in range(3):
        await chain.sender(rpc=rpc).run_pass(epoch)
        chain.clock.wait(minutes=5)
    assert [last_class for _, last_class in await _attempts(chain)] == ["node_limit", "node_limit"]
    assert [refusal.cause for state, *rest in chain.source.told for refusal in rest] == [Cause.NODE_LIMIT]


async def test_one_node_without_a_cap_is_enough(chain: Any, node: Node) -> None:
    await chain.seal()
    (capped, _), (free, _) = await node(30), await node(None)
    await chain.sender(free, rpc=capped).run_pass(await chain.lease("sender"))
    assert [last_class for _, last_class in await _attempts(chain)] == ["accepted"]


async def test_replacements_stay_under_a_cap_that_is_known(chain: Any, node: Node) -> None:
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    rpc, _ = await node(60)
    sender = chain.sender(rpc=rpc, cap=2_000)
    await sender.run_pass(epoch)
    assert [last_class for _, last_class in await _attempts(chain)] == ["accepted"]
    await chain.rpc.call("anvil_dropAllTransactions")
    await chain.rpc.call("anvil_setNextBlockBaseFeePerGas", [hex(3 * BASE_FEE)])
    await chain.mine()
    for _ in range(5):
        chain.clock.wait(minutes=11)
        await sender.run_pass(epoch)
    # Nobody is asked: the first one stands, and after one refusal nothing more is signed above the cap.
    (first, _), (dear, refused), (last, accepted) = await _attempts(chain)
    assert (refused, accepted) == ("node_limit", "known")
    assert first < last <= 55 * MILLIETHER < 60 * MILLIETHER < dear
    assert [state for state, *_ in chain.source.told] == ["sending"]
    await chain.mine(3)
    await sender.run_pass(epoch)
    assert await chain.confirmed() == [seal.root]
    assert await chain.slots() == [(0, "final", 3)]


async def test_what_no_node_takes_need_not_be_outbid_by_its_cancellation(chain: Any, node: Node) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    rpc, _ = await node(20)
    sender = chain.sender(rpc=rpc)
    await sender.run_pass(epoch)
    assert [last_class for _, last_class in await _attempts(chain)] == ["node_limit"]
    # The market falls so low that five times of it is less than what nobody took.
    await chain.rpc.call("anvil_setNextBlockBaseFeePerGas", [hex(GWEI)])
    await chain.mine()
    async with chain.db.transaction() as conn:
        ((slot,),) = await (await conn.execute("SELECT id FROM chain_txs")).fetchall()
        assert await slot_repository.cancel(conn, slot, Stamp(epoch, chain.clock()))
    await sender.run_pass(epoch)
    await chain.mine(3)
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "cancelled", 2)]
