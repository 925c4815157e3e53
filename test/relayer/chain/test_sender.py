"""The sender on a real node and the real registry: every batch lands once, whatever dies in between."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from relayer.chain import log_repository
from relayer.chain.calls import Cause
from relayer.chain.health import FinalityViolationError
from relayer.chain.node import Node
from relayer.chain.rpc import JsonRpc, RpcUnavailableError
from relayer.chain.transaction import TransactionFields
from relayer.local.anvil import CHAIN_ID
from relayer.store.leases import LeaseLostError


class KilledError(BaseException):
    """Ends a pass where a SIGKILL would."""


class DyingSigner:
    """Dies before it signs."""

    def __init__(self, address: bytes) -> None:
        self.address = address

    async def check_key(self) -> None:
        pass

    async def sign(self, fields: TransactionFields) -> bytes:
        raise KilledError


class DyingRpc(JsonRpc):
    """Dies when a transaction is sent: before the node has it, or after."""

    def __init__(self, url: str, *, before: bool) -> None:
        super().__init__(url, timedelta(seconds=10))
        self._before = before

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        sends = method == "eth_sendRawTransaction"
        if sends and self._before:
            raise KilledError
        result = await super().call(method, params)
        if sends:
            raise KilledError
        return result


async def test_a_batch_goes_from_sealed_to_final(chain: Any) -> None:
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    sender = chain.sender()
    assert await sender.run_pass(epoch) == 1
    assert await chain.slots() == [(0, "broadcast", 1)]
    await chain.mine()
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "included", 1)]
    assert await sender.run_pass(epoch) == 0
    await chain.mine(2)
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "final", 1)]
    assert [state for state, *_ in chain.source.told] == ["sending", "included"]
    inclusion = chain.source.told[1][1]
    info = await chain.registry.batch(seal.root)
    assert (info.submitter, info.jobs) == (chain.signer.address, 1)
    receipt = await chain.rpc.call("eth_getTransactionReceipt", [f"0x{inclusion.transaction_hash.hex()}"])
    assert int(receipt["gasUsed"], 16) == inclusion.gas_used
    assert await sender.run_pass(epoch) == 0


@pytest.mark.parametrize("dies", ["reserved", "signed", "sent"])
async def test_a_killed_sender_s_successor_sends_exactly_once(chain: Any, dies: str) -> None:
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    async with DyingRpc(chain.rpc.address, before=dies == "signed") as rpc:
        dying = (
            chain.sender(signer=DyingSigner(chain.signer.address))
            if dies == "reserved"
            else chain.sender(rpc=rpc)
        )
        with pytest.raises(KilledError):
            await dying.run_pass(epoch)
    assert await chain.slots() == [
        (0, "reserved" if dies == "reserved" else "signed", 0 if dies == "reserved" else 1)
    ]
    heir = chain.sender()
    for _ in range(3):
        await heir.run_pass(epoch)
        await chain.mine()
    assert await chain.slots() == [(0, "final", 1)]
    assert await chain.confirmed() == [seal.root]
    assert await chain.nonce() == 1


async def test_a_node_that_falls_silent_is_named_and_nothing_is_lost(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    async with JsonRpc("http://127.0.0.1:9/key", timedelta(seconds=2)) as nowhere:
        with pytest.raises(RpcUnavailableError, match=r"http://127\.0\.0\.1:9:"):
            await chain.sender(rpc=nowhere).run_pass(epoch)
    assert await chain.slots() == []


async def test_what_is_stuck_pays_more_on_the_same_nonce(chain: Any) -> None:
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    sender = chain.sender()
    await sender.run_pass(epoch)
    assert await sender.run_pass(epoch) == 0
    await chain.rpc.call("anvil_setNextBlockBaseFeePerGas", [hex(5 * 10**9)])
    chain.clock.wait(seconds=46)
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "broadcast", 2)]
    ((old_fee, new_fee, old_tip, new_tip),) = await chain.rows(
        "SELECT min(max_fee_per_gas), max(max_fee_per_gas), min(max_priority_fee_per_gas), "
        "max(max_priority_fee_per_gas) FROM tx_attempts"
    )
    assert new_fee * 8 >= old_fee * 9
    assert new_tip * 8 >= old_tip * 9
    await chain.mine(3)
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "final", 2)]
    assert await chain.confirmed() == [seal.root]


async def test_at_the_cap_the_same_bytes_go_out_again(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    await chain.rpc.call("anvil_setNextBlockBaseFeePerGas", [hex(10**9)])
    await chain.mine()
    sender = chain.sender(cap=2)
    await sender.run_pass(epoch)
    await chain.rpc.call("anvil_dropAllTransactions")
    for _ in range(4):
        chain.clock.wait(seconds=300)
        await sender.run_pass(epoch)
    ((highest,),) = await chain.rows("SELECT max(max_fee_per_gas) FROM tx_attempts")
    assert highest <= 2 * 10**9
    await chain.mine(3)
    await sender.run_pass(epoch)
    ((nonce, state, _),) = await chain.slots()
    assert (nonce, state) == (0, "final")


async def test_nothing_is_begun_above_the_cap(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("anvil_setNextBlockBaseFeePerGas", [hex(50 * 10**9)])
    await chain.mine()
    await chain.sender(cap=1).run_pass(epoch)
    assert await chain.slots() == []
    assert [(state, refusal.cause) for state, refusal in chain.source.told] == [
        ("needs_human", Cause.FEE_CAP)
    ]


async def test_a_reorganisation_takes_an_inclusion_back_and_the_batch_lands_again(chain: Any) -> None:
    seal = await chain.seal()
    epoch = await chain.lease("sender")
    sender = chain.sender()
    await sender.run_pass(epoch)
    await chain.mine()
    await sender.run_pass(epoch)
    await chain.rpc.call("anvil_reorg", [2, []])
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "broadcast", 1)]
    for _ in range(3):
        await sender.run_pass(epoch)
        await chain.mine()
    await sender.run_pass(epoch)
    assert [entry[0] for entry in chain.source.told] == ["sending", "included", "sending", "included"]
    assert await chain.slots() == [(0, "final", 1)]
    assert await chain.confirmed() == [seal.root]


async def test_the_time_that_signing_takes_is_shown(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    with pytest.raises(KilledError):
        await chain.sender(signer=DyingSigner(chain.signer.address)).run_pass(epoch)
    await chain.sender().run_pass(epoch)
    assert chain.count("jobseal_sender_signing_seconds_count") == 2


async def test_a_sender_that_was_restarted_believes_no_node_that_contradicts_the_database(chain: Any) -> None:
    await chain.mine(5)
    _, finalized = await Node(chain.rpc).heads()
    async with chain.db.transaction() as conn:
        other = replace(finalized, hash=bytes(32))
        await log_repository.add_blocks(conn, CHAIN_ID, [other], finalized=True)
    await chain.seal()
    with pytest.raises(FinalityViolationError, match=f"its block {finalized.number} was final as 0x00"):
        await chain.sender().run_pass(await chain.lease("sender"))
    assert await chain.slots() == []


async def test_a_paused_registry_costs_no_nonce(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    await chain.as_admin("pause()")
    assert await chain.registry.paused()
    assert await chain.sender().run_pass(epoch) == 1
    ((state, refusal),) = chain.source.told
    assert (state, refusal.cause, refusal.error.name) == ("needs_human", Cause.REVERTS, "EnforcedPause")
    assert refusal.text == "EnforcedPause()"
    assert (await chain.slots(), await chain.nonce()) == ([], 0)


async def test_a_mined_revert_is_decoded_once_it_is_final(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    sender = chain.sender()
    await sender.run_pass(epoch)
    await chain.rpc.call("anvil_dropAllTransactions")
    await chain.as_admin("pause()")
    chain.clock.wait(seconds=31)
    await sender.run_pass(epoch)
    await chain.mine()
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "broadcast", 1)]
    await chain.mine(2)
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "reverted", 1)]
    refusal = chain.source.told[-1][1]
    assert (refusal.cause, refusal.error.name) == (Cause.REVERTED, "EnforcedPause")
    assert "reverted in block" in refusal.text


async def test_a_nonce_that_another_transaction_used_is_left_to_a_human(chain: Any) -> None:
    await chain.seal()
    epoch = await chain.lease("sender")
    with pytest.raises(KilledError):
        await chain.sender(signer=DyingSigner(chain.signer.address)).run_pass(epoch)
    await chain.rpc.call("anvil_setNonce", [f"0x{chain.signer.address.hex()}", "0x1"])
    await chain.mine()
    sender = chain.sender()
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "signed", 1)]
    await chain.mine(3)
    await sender.run_pass(epoch)
    assert await chain.slots() == [(0, "superseded", 1)]
    refusal = chain.source.told[-1][1]
    assert (refusal.cause, refusal.error) == (Cause.SUPERSEDED, None)
    assert refusal.text.startswith("nonce 0 ")
    assert "1 node knows none of its 1 own" in refusal.text
    assert await chain.confirmed() == []


async def test_no_more_than_four_slots_are_open(chain: Any) -> None:
    roots = [(await chain.seal()).root for _ in range(6)]
    epoch = await chain.lease("sender")
    await chain.rpc.call("evm_setAutomine", [False])
    sender = chain.sender()
    await sender.run_pass(epoch)
    assert [nonce for nonce, *_ in await chain.slots()] == [0, 1, 2, 3]
    await chain.mine(3)
    await sender.run_pass(epoch)
    await chain.mine(3)
    await sender.run_pass(epoch)
    assert [(nonce, state) for nonce, state, _ in await chain.slots()] == [(n, "final") for n in range(6)]
    assert await chain.confirmed() == roots


async def test_a_sender_that_lost_its_lease_writes_nothing(chain: Any) -> None:
    await chain.seal()
    old = await chain.lease("sender")
    await chain.rows("UPDATE leases SET expires_at = '-infinity' RETURNING epoch")
    new = await chain.lease("sender", "other")
    assert new > old
    with pytest.raises(LeaseLostError):
        await chain.sender().run_pass(old)
    assert (await chain.slots(), chain.source.told, await chain.nonce()) == ([], [], 0)
    assert await chain.sender().run_pass(new) == 1
