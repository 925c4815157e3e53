"""Nonces: gaps are filled, cancelled calls make way, two leaders do no harm, foreign use is told."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from relayer.chain import slot_repository
from relayer.chain.calls import Cause, Leave
from relayer.chain.rpc import JsonRpc, Request, RpcError
from relayer.chain.slot_repository import Stamp
from relayer.chain.slots import Purpose
from relayer.store.leases import LeaseLostError

from .nodes import AheadRpc, FailingRpc, ForgetfulRpc, RefusingRpc, SayingRpc, SleepingRpc


async def _cancel(chain: Any, epoch: int) -> None:
    ((slot,),) = await chain.rows("SELECT id FROM chain_txs")
    async with chain.db.transaction() as conn:
        assert await slot_repository.cancel(conn, slot, Stamp(epoch, chain.clock()))


async def _reserve(chain: Any, epoch: int, nonce: int) -> None:
    """Take a nonce for the sealed batch, as who dies before he has signed for it."""
    ((batch,),) = await chain.rows("UPDATE batches SET state = 'sending' WHERE state = 'sealed' RETURNING id")
    new = slot_repository.NewSlot(Purpose.CONFIRM_BATCH, batch, chain.address, b"\x01")
    account = slot_repository.Account(31337, chain.signer.address)
    async with chain.db.transaction() as conn:
        await slot_repository.reserve(conn, account, nonce, new, Stamp(epoch, chain.clock()))


async def test_nonces_that_nobody_took_are_used_up_by_nothing(chain: Any) -> None:
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    async with AheadRpc(chain.rpc.address, 3) as rpc:
        await chain.sender(rpc=rpc).run_pass(epoch)
    assert [nonce for nonce, *_ in await chain.slots()] == [3]
    sender = chain.sender()
    await sender.run_pass(epoch)
    await chain.mine(3)
    await sender.run_pass(epoch)
    assert await chain.slots() == [(nonce, "final", 1) for nonce in range(4)]
    assert await chain.rows("SELECT DISTINCT purpose, batch_id IS NULL FROM chain_txs ORDER BY 1") == [
        ("confirm_batch", False),
        ("fill", True),
    ]
    assert await chain.confirmed() == [seal.root]
    assert await chain.nonce() == 4


async def test_a_node_that_lags_shows_no_gap(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    async with AheadRpc(chain.rpc.address, 3) as rpc:
        await chain.sender(rpc=rpc).run_pass(epoch)

        class Ahead(AheadRpc):
            async def call(self, method: str, params: Any = ()) -> Any:
                answer = await super().call(method, params)
                return hex(int(answer, 16) + 3) if method == "eth_getTransactionCount" else answer

        async with Ahead(chain.rpc.address, 3) as other:
            await chain.sender(other).run_pass(epoch)
    assert [nonce for nonce, *_ in await chain.slots()] == [3]


async def test_a_cancelled_call_makes_way_and_never_lands(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    sender = chain.sender()
    await sender.run_pass(epoch)
    await _cancel(chain, epoch)
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "broadcast", 2)]
    await chain.mine()
    await sender.run_pass(epoch)
    # It is mined, and says nothing before it is final.
    assert await chain.slots() == [(0, "broadcast", 2)]
    await chain.mine(2)
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "cancelled", 2)]
    assert chain.source.told[-1][1].cause is Cause.CANCELLED
    assert await chain.confirmed() == []
    ((settled, block),) = await chain.rows("SELECT settled_number, block_number FROM chain_txs")
    assert settled >= block


async def test_what_is_mined_decides_between_a_call_and_its_cancellation(chain: Any) -> None:
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    sender = chain.sender()
    await sender.run_pass(epoch)
    await _cancel(chain, epoch)
    await chain.mine()
    for _ in range(2):
        await sender.run_pass(epoch)
        await chain.mine(2)
    await sender.run_pass(epoch)
    assert [(nonce, state) for nonce, state, _ in await chain.slots()] == [(0, "final")]
    assert [entry[0] for entry in chain.source.told] == ["sending", "included"]
    assert await chain.confirmed() == [seal.root]


async def test_a_reserved_nonce_waits_for_its_held_batch_and_is_used_up_where_that_is_gone(
    chain: Any,
) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    await _reserve(chain, epoch, 0)
    chain.source.leaves = Leave.WAIT
    sender = chain.sender()
    assert await sender.run_pass(epoch) == 0
    assert await chain.slots() == [(0, "reserved", 0)]
    chain.source.leaves = Leave.GONE
    await sender.run_pass(epoch)
    await chain.mine(3)
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "cancelled", 1)]
    assert await chain.confirmed() == []


async def test_what_is_on_its_way_is_followed_where_a_reserved_nonce_cannot_be_priced(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    await chain.sender().run_pass(epoch)
    await chain.seal()
    await _reserve(chain, epoch, 1)
    await chain.mine()
    async with RefusingRpc(chain.rpc.address, -32000, "missing trie node") as rpc:
        with pytest.raises(RpcError, match="missing trie node"):
            await chain.sender(rpc=rpc).run_pass(epoch)
    assert await chain.slots() == [(0, "included", 1), (1, "reserved", 0)]


async def test_a_leader_that_wakes_too_late_does_no_harm(chain: Any) -> None:
    seal = await chain.seal()
    old = await chain.lease("sender")
    async with SleepingRpc(chain.rpc.address) as rpc:
        sleeping = asyncio.create_task(chain.sender(rpc=rpc).run_pass(old))
        await asyncio.wait_for(rpc.holds.wait(), 60)
        await chain.rows("UPDATE leases SET expires_at = '-infinity' RETURNING 1")
        new = await chain.lease("sender", "other")
        heir = chain.sender()
        await heir.run_pass(new)
        await chain.mine(3)
        await heir.run_pass(new)
        assert await chain.slots() == [(0, "final", 1)]
        before = await chain.rows("SELECT * FROM chain_txs, tx_attempts")
        # It sends its stored bytes once more, which were mined long ago, and can write nothing.
        rpc.wakes.set()
        with pytest.raises(LeaseLostError):
            await sleeping
    assert await chain.rows("SELECT * FROM chain_txs, tx_attempts") == before
    assert await chain.confirmed() == [seal.root]
    assert await chain.nonce() == 1


async def test_a_foreign_transaction_is_a_verdict_of_all_nodes(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    async with SayingRpc(chain.rpc.address, "txpool is full", "txpool is full") as rpc:
        await chain.sender(rpc=rpc).run_pass(epoch)
    await chain.rpc.call("anvil_setNonce", [f"0x{chain.signer.address.hex()}", "0x1"])
    await chain.mine(3)
    async with ForgetfulRpc(chain.rpc.address) as rpc:
        await chain.sender(rpc).run_pass(epoch)
    assert await chain.slots() == [(0, "signed", 1)]
    await chain.sender().run_pass(epoch)
    assert await chain.slots() == [(0, "superseded", 1)]
    assert chain.source.told[-1][1].cause is Cause.SUPERSEDED
    assert chain.count("jobseal_sender_foreign_transactions_total") == 1


async def test_one_node_alone_says_of_no_transaction_that_it_reverted(chain: Any) -> None:
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    async with (
        FailingRpc(chain.rpc.address) as liar,
        JsonRpc(chain.rpc.address, chain.request_timeout) as other,
    ):
        sender = chain.sender(other, rpc=liar)
        await sender.run_pass(epoch)
        await chain.mine(3)
        for _ in range(3):
            await sender.run_pass(epoch)
        assert [(nonce, state) for nonce, state, _ in await chain.slots()] == [(0, "broadcast")]
        assert [entry[0] for entry in chain.source.told] == ["sending"]
        await chain.sender(liar, rpc=other).run_pass(epoch)
    assert [(nonce, state) for nonce, state, _ in await chain.slots()] == [(0, "final")]
    assert await chain.confirmed() == [seal.root]


class BoastfulRpc(AheadRpc):
    """Pretends to have a head far above, beside which every other node lags."""

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        answers = await super().batch(requests)
        return [
            answer | {"number": hex(int(answer["number"], 16) + 1_000)}
            if params[:1] == ("latest",)
            else answer
            for (_, params), answer in zip(requests, answers, strict=True)
        ]


@pytest.mark.parametrize("kind", [AheadRpc, BoastfulRpc])
async def test_one_node_alone_gives_no_nonce_away(chain: Any, kind: type[AheadRpc]) -> None:
    """What was signed for it is in the pools of the others, and may land."""
    await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    await chain.sender().run_pass(epoch)
    async with kind(chain.rpc.address, 1, "finalized") as liar:
        await chain.sender(chain.rpc, rpc=liar).run_pass(epoch)
    assert await chain.slots() == [(0, "broadcast", 1)]
    assert chain.count("jobseal_sender_foreign_transactions_total") == 0


async def test_no_nonce_is_taken_above_one_that_a_single_node_made_up(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    async with AheadRpc(chain.rpc.address, 3) as liar:
        await chain.sender(chain.rpc, rpc=liar).run_pass(epoch)
    assert await chain.slots() == []
    await chain.sender().run_pass(epoch)
    assert [nonce for nonce, *_ in await chain.slots()] == [0]


async def test_a_call_that_would_revert_makes_way_where_its_batch_does_not_want_it_any_more(
    chain: Any,
) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    async with RefusingRpc(chain.rpc.address, 3, "execution reverted") as rpc:
        await chain.sender().run_pass(epoch)
        sender = chain.sender(rpc=rpc)
        chain.clock.wait(minutes=1)
        await sender.run_pass(epoch)
        assert await chain.rows("SELECT purpose FROM chain_txs") == [("confirm_batch",)]
        chain.source.leaves = Leave.GONE
        # With the next block, or as who takes over.
        sender = chain.sender(rpc=rpc)
        for _ in range(2):
            await sender.run_pass(epoch)
        assert await chain.slots() == [(0, "broadcast", 2)]
        await chain.mine(3)
        await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "cancelled", 2)]
    assert await chain.confirmed() == []


async def test_what_is_mined_is_not_replaced_while_it_becomes_final(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    sender = chain.sender()
    await sender.run_pass(epoch)
    await _cancel(chain, epoch)
    await sender.run_pass(epoch)
    await chain.mine()
    ((fee,),) = await chain.rows("SELECT max(max_fee_per_gas)::bigint FROM tx_attempts")
    await chain.rpc.call("anvil_setNextBlockBaseFeePerGas", [hex(fee + 1)])
    chain.clock.wait(minutes=10)
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "broadcast", 2)]


class CountingRpc(JsonRpc):
    """Counts how often the market was asked for."""

    asked = 0

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        self.asked += method == "eth_feeHistory"
        return await super().call(method, params)


async def test_what_keeps_its_fee_is_weighed_once_a_block(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    async with CountingRpc(chain.rpc.address, chain.request_timeout) as rpc:
        sender = chain.sender(rpc=rpc)
        await sender.run_pass(epoch)
        chain.clock.wait(minutes=1)
        before = rpc.asked
        for _ in range(3):
            await sender.run_pass(epoch)
        assert await chain.slots() == [(0, "broadcast", 1)]
        assert rpc.asked == before + 1


async def test_a_transaction_of_nothing_gets_more_gas_where_a_chain_asks_for_it(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    await chain.sender().run_pass(epoch)
    await _cancel(chain, epoch)
    async with SayingRpc(chain.rpc.address, "intrinsic gas too low: have 21000, want 25000") as rpc:
        sender = chain.sender(rpc=rpc)
        for _ in range(2):
            await sender.run_pass(epoch)
    assert await chain.rows("SELECT gas_limit FROM tx_attempts WHERE purpose = 'cancel' ORDER BY 1") == [
        (21_000,),
        (31_500,),
    ]


async def test_patience_grows_by_half_and_ends_at_ten_attempts(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    sender = chain.sender(cap=5_000)
    await sender.run_pass(epoch)
    waited = timedelta(seconds=45)
    for attempts in range(2, 11):
        chain.clock.now += waited - timedelta(seconds=1)
        await sender.run_pass(epoch)
        assert (await chain.slots())[0][2] == attempts - 1
        chain.clock.wait(seconds=1)
        # The market has to move for the next one to be worth its price.
        ((fee,),) = await chain.rows("SELECT max(max_fee_per_gas)::bigint FROM tx_attempts")
        await chain.rpc.call("anvil_setNextBlockBaseFeePerGas", [hex(fee + 1)])
        await sender.run_pass(epoch)
        assert (await chain.slots())[0][2] == attempts
        waited = min(waited * 1.5, timedelta(minutes=10))
    chain.clock.wait(hours=1)
    await sender.run_pass(epoch)
    assert (await chain.slots())[0][2] == 10
    assert chain.count("jobseal_sender_fees_kept_total", why="attempts") > 0
