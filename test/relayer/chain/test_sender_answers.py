"""What the sender does about each class of answer, on a real node behind one that spoils its answers."""

from typing import Any

import pytest

from relayer.chain.calls import Cause

from .nodes import SayingRpc, ThriftyRpc


async def _causes(chain: Any) -> list[Cause]:
    return [entry[1].cause for entry in chain.source.told if entry[0] in ("sealed", "needs_human")]


async def test_words_that_nobody_knows_ask_for_a_human_after_three_times_whoever_leads(chain: Any) -> None:
    await chain.seal()
    await chain.seal()
    epoch = await chain.lease("sender")
    async with SayingRpc(chain.rpc.address, *["the cat sat on the mat"] * 9) as rpc:
        for refusals in range(1, 6):
            # The count is in the database: every pass here is of another process.
            await chain.sender(rpc=rpc).run_pass(epoch)
            assert len(rpc.refused) == refusals
            assert await _causes(chain) == [Cause.UNKNOWN_ANSWER] * (refusals >= 3)
        assert len(set(rpc.refused)) == 1
        assert "the cat sat on the mat" in chain.source.told[-1][1].text
    # Nothing is queued behind it, and its bytes are kept.
    assert await chain.slots() == [(0, "signed", 1)]


async def test_words_that_nobody_knows_may_be_over_before_a_human_comes(chain: Any) -> None:
    await chain.seal()
    await chain.seal()
    epoch = await chain.lease("sender")
    async with SayingRpc(chain.rpc.address, *["the cat sat on the mat"] * 4) as rpc:
        sender = chain.sender(rpc=rpc)
        for _ in range(4):
            await sender.run_pass(epoch)
            await sender.run_pass(epoch)
            chain.clock.wait(minutes=1)
        # A pass in between sends nothing: it is offered once a minute.
        assert len(rpc.refused) == 4
        assert await _causes(chain) == [Cause.UNKNOWN_ANSWER]
        for _ in range(3):
            await sender.run_pass(epoch)
    assert [state for _, state, _ in await chain.slots()] == ["included", "included"]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("tx fee (2.00 ether) exceeds the configured cap (1.00 ether)", Cause.NODE_LIMIT),
        ("invalid chain id for signer: have 1 want 31337", Cause.SIGNATURE),
        ("exceeds block gas limit", Cause.TOO_MUCH_GAS),
        ("oversized data: transaction size 200000, limit 131072", Cause.OVERSIZED),
    ],
)
async def test_what_no_repetition_mends_is_sent_once(chain: Any, text: str, cause: Cause) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    async with SayingRpc(chain.rpc.address, text, text) as rpc:
        sender = chain.sender(rpc=rpc)
        for _ in range(3):
            await sender.run_pass(epoch)
            chain.clock.wait(minutes=5)
        assert len(rpc.refused) == 1
    assert await _causes(chain) == [cause]


async def test_too_little_gas_is_mended_once(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    text = "intrinsic gas too low: gas 1, minimum needed 2"
    async with SayingRpc(chain.rpc.address, text, text) as rpc:
        sender = chain.sender(rpc=rpc)
        for _ in range(4):
            await sender.run_pass(epoch)
        assert len(rpc.refused) == 2
    ((least, most),) = await chain.rows("SELECT min(gas_limit), max(gas_limit) FROM tx_attempts")
    assert most * 2 >= least * 3
    assert await _causes(chain) == [Cause.TOO_MUCH_GAS]


async def test_what_pays_too_little_pays_more_at_once_and_what_finds_no_room_waits_a_block(
    chain: Any,
) -> None:
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    async with SayingRpc(chain.rpc.address, "transaction underpriced", "txpool is full") as rpc:
        sender = chain.sender(rpc=rpc)
        await sender.run_pass(epoch)
        await sender.run_pass(epoch)
        assert await chain.slots() == [(0, "signed", 2)]
        assert await sender.run_pass(epoch) == 0
        assert len(rpc.refused) == 2
        await chain.mine()
        await sender.run_pass(epoch)
        assert await chain.slots() == [(0, "broadcast", 2)]
        await chain.mine(3)
        await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "final", 2)]
    assert await chain.confirmed() == [seal.root]


async def test_a_replacement_is_outbid_only_where_the_other_is_our_own(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    text = "replacement transaction underpriced"
    async with SayingRpc(chain.rpc.address) as rpc:
        sender = chain.sender(rpc=rpc)
        await sender.run_pass(epoch)
        chain.clock.wait(seconds=45)
        rpc.texts = [text]
        await sender.run_pass(epoch)
        assert await chain.slots() == [(0, "broadcast", 2)]
        # Now the pool knows nothing that was signed here: whatever it compares with is somebody else's.
        await chain.rpc.call("anvil_dropAllTransactions")
        chain.clock.wait(seconds=31)
        rpc.texts = [text]
        for _ in range(3):
            await sender.run_pass(epoch)
        assert (await chain.slots())[0][2] == 2
        assert chain.count("jobseal_sender_foreign_transactions_total") == 1


async def test_what_runs_out_of_gas_gets_half_as_much_again_twice(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    async with ThriftyRpc(chain.rpc.address, 25_000) as rpc:
        sender = chain.sender(rpc=rpc)
        for _ in range(3):
            await sender.run_pass(epoch)
            await chain.mine(3)
            await sender.run_pass(epoch)
    limits = [limit for (limit,) in await chain.rows("SELECT gas_limit FROM tx_attempts ORDER BY gas_limit")]
    assert limits == [30_000, 45_000, 67_500]
    assert await _causes(chain) == [Cause.OUT_OF_GAS, Cause.OUT_OF_GAS, Cause.TOO_MUCH_GAS]
    assert [(nonce, state) for nonce, state, _ in await chain.slots()] == [
        (nonce, "reverted") for nonce in range(3)
    ]


async def test_no_nonce_is_taken_by_who_cannot_pay_for_three(chain: Any) -> None:
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    account = f"0x{chain.signer.address.hex()}"
    await chain.rpc.call("anvil_setBalance", [account, hex(10**14)])
    sender = chain.sender()
    await sender.run_pass(epoch)
    assert await _causes(chain) == [Cause.FUNDS]
    assert await chain.slots() == []
    await chain.rpc.call("anvil_setBalance", [account, hex(10**20)])
    await chain.rows("UPDATE batches SET state = 'sealed', reason = NULL RETURNING 1")
    await sender.run_pass(epoch)
    await chain.mine(3)
    await sender.run_pass(epoch)
    assert await chain.confirmed() == [seal.root]
