"""Lanes on a real registry: each by itself, the closed ones without a nonce and without stopping the others."""

from datetime import timedelta
from uuid import UUID

import pytest
from eth_hash.backends.pysha3 import keccak256

from relayer.batches import desk
from relayer.batches.head_watch import HeadWatch
from relayer.batches.receipts import ReceiptService
from relayer.batches.source import QUORUM_HELD_FOR
from relayer.chain.indexer import LEASE, Indexer
from relayer.chain.keystore import KeystoreSigner
from relayer.chain.providers import Providers
from relayer.chain.signer import SignerUnavailableError
from relayer.chain.verifier import Rpc, verify_on_chain
from relayer.local.anvil import Anvil
from relayer.seal.tree import Word
from relayer.seal.verify import Outcome, Pin
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

from .conftest import InsertFinished, MakeBatcher, SealJobs
from .onchain import ADMIN, Relayer

LANE = 3 << 56


@pytest.fixture
def registry_row(deployed_row: RegistryRow) -> RegistryRow:
    return deployed_row


async def set_quorum(relayer: Relayer, lane: int, quorum: int) -> None:
    selector = keccak256(b"setQuorum(uint8,uint8)")[:4]
    await relayer.transact(ADMIN, f"0x{(selector + lane.to_bytes(32) + quorum.to_bytes(32)).hex()}")


async def batches(relayer: Relayer) -> list[tuple[int, str, str | None]]:
    return [
        (lane, state, reason)
        for lane, state, reason in await relayer.rows("SELECT lane, state, reason FROM batches ORDER BY id")
    ]


async def slots(relayer: Relayer) -> list[tuple[int, str, str]]:
    return [
        (nonce, purpose, state)
        for nonce, purpose, state in await relayer.rows(
            "SELECT nonce, purpose, state FROM chain_txs ORDER BY nonce"
        )
    ]


async def reserve(relayer: Relayer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a nonce and get no further."""

    async def die(*_: object) -> bytes:
        raise SignerUnavailableError("it does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(KeystoreSigner, "sign", die)
        with pytest.raises(SignerUnavailableError):
            await relayer.send()
    assert await slots(relayer) == [(0, "confirm_batch", "reserved")]


async def test_each_lane_is_a_batch_of_its_own(
    relayer: Relayer,
    make_batcher: MakeBatcher,
    insert_finished: InsertFinished,
    epoch: int,
    api_db: Database,
    tenant: UUID,
    anvil: Anvil,
) -> None:
    await set_quorum(relayer, 3, 1)
    ids = await insert_finished([0, 1, LANE, LANE + 1, LANE + 300])
    batcher = make_batcher()
    relayer.clock.now += timedelta(minutes=1)
    assert sorted([await batcher.run_pass(epoch), await batcher.run_pass(epoch)]) == [2, 3]
    assert await batcher.run_pass(epoch) == 0
    await relayer.send()
    await relayer.finalize()
    assert sorted(await batches(relayer)) == [(0, "final", None), (3, "final", None)]
    with Rpc(anvil.rpc_url) as rpc:
        for one in ids:
            receipt = await ReceiptService(api_db).receipt(tenant, one)
            assert receipt is not None
            pin = Pin(relayer.registry.chain_id, relayer.registry.address)
            assert verify_on_chain(receipt, rpc, pin).outcome is Outcome.VALID


async def test_a_closed_lane_waits_without_a_nonce_while_others_go_on(
    relayer: Relayer, seal_jobs: SealJobs
) -> None:
    for lane in range(3, 9):
        await seal_jobs([lane << 56])
    await seal_jobs([0])
    await relayer.send()
    closed = [(lane, "held", "quorum") for lane in range(3, 9)]
    assert await batches(relayer) == [*closed, (0, "sending", None)]
    assert await relayer.rows("SELECT DISTINCT detail FROM batches WHERE lane = 3") == [("LaneClosed(3)",)]
    await relayer.finalize()
    assert await batches(relayer) == [*closed, (0, "final", None)]
    assert await slots(relayer) == [(0, "confirm_batch", "final")]


async def test_a_lane_goes_on_when_its_quorum_is_one(relayer: Relayer, seal_jobs: SealJobs) -> None:
    await set_quorum(relayer, 3, 2)
    await seal_jobs([LANE])
    await relayer.send()
    assert await relayer.rows("SELECT reason, detail FROM batches") == [
        ("quorum", "QuorumNotReached(3, 1, 2)")
    ]
    await set_quorum(relayer, 3, 1)
    assert await relayer.send() == 0
    relayer.clock.now += QUORUM_HELD_FOR
    await relayer.send()
    await relayer.finalize()
    assert await batches(relayer) == [(3, "final", None)]


async def test_a_lane_that_opens_for_what_is_spent_already_waits_for_the_event(
    relayer: Relayer, seal_jobs: SealJobs, signer: KeystoreSigner
) -> None:
    await seal_jobs([LANE])
    await relayer.send()
    assert await batches(relayer) == [(3, "held", "quorum")]
    await set_quorum(relayer, 3, 1)
    await relayer.confirm(signer, [Word(LANE >> 8, 1, bytes(31) + b"\x01")])
    relayer.clock.now += QUORUM_HELD_FOR
    assert await relayer.send() <= 1
    # Whose it is, the event says when it is final; the batch is not offered again and again meanwhile.
    assert await batches(relayer) == [(3, "sending", None)]
    assert await slots(relayer) == []


async def test_what_tells_of_another_quorum_lets_its_lane_be_tried_at_once(
    relayer: Relayer, seal_jobs: SealJobs, signer: KeystoreSigner
) -> None:
    await seal_jobs([LANE])
    await seal_jobs([4 << 56])
    await relayer.send()
    assert await batches(relayer) == [(3, "held", "quorum"), (4, "held", "quorum")]
    await set_quorum(relayer, 3, 1)
    watch = HeadWatch(relayer.db, relayer.registry, signer.address, lease=LEASE, clock=relayer.clock)
    indexer = Indexer(
        relayer.db,
        Providers([relayer.rpc], relayer.registry.chain_id, clock=relayer.clock),
        chain_id=relayer.registry.chain_id,
        address=relayer.registry.address,
        first_block=relayer.registry.first_block,
        handler=lambda *_: _nothing(),
        clock=relayer.clock,
        head=watch,
    )
    while await indexer.run_pass(relayer.epochs["indexer"]):
        pass
    await relayer.send()
    assert await batches(relayer) == [(3, "sending", None), (4, "held", "quorum")]


async def _nothing() -> None:
    return None


async def test_nothing_more_is_sealed_of_a_lane_that_waits_for_its_quorum(
    relayer: Relayer,
    make_batcher: MakeBatcher,
    insert_finished: InsertFinished,
    seal_jobs: SealJobs,
    epoch: int,
) -> None:
    await seal_jobs([LANE])
    await relayer.send()
    await insert_finished([LANE + 1, 4 << 56, 7])
    batcher = make_batcher(max_jobs=1)
    assert [await batcher.run_pass(epoch) for _ in range(3)] == [1, 1, 0]
    assert sorted(await batches(relayer)) == [(0, "sealed", None), (3, "held", "quorum"), (4, "sealed", None)]
    await set_quorum(relayer, 3, 1)
    relayer.clock.now += QUORUM_HELD_FOR
    await relayer.send()
    assert await batcher.run_pass(epoch) == 1


async def test_a_lane_that_closes_after_its_nonce_was_taken_gives_the_nonce_up(
    relayer: Relayer, seal_jobs: SealJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_quorum(relayer, 3, 1)
    await seal_jobs([LANE])
    await reserve(relayer, monkeypatch)
    await seal_jobs([0])
    await set_quorum(relayer, 3, 2)
    for _ in range(2):
        await relayer.send()
    assert await batches(relayer) == [(3, "held", "quorum"), (0, "sending", None)]
    await relayer.rpc.call("anvil_mine")
    await relayer.finalize()
    assert await batches(relayer) == [(3, "held", "quorum"), (0, "final", None)]
    assert await slots(relayer) == [(0, "cancel", "cancelled"), (1, "confirm_batch", "final")]
    await set_quorum(relayer, 3, 1)
    relayer.clock.now += QUORUM_HELD_FOR
    await relayer.send()
    await relayer.finalize()
    assert await batches(relayer) == [(3, "final", None), (0, "final", None)]


async def test_a_stuck_transaction_of_a_lane_that_closed_gives_way(
    relayer: Relayer, seal_jobs: SealJobs
) -> None:
    await set_quorum(relayer, 3, 1)
    await seal_jobs([LANE])
    await relayer.send()
    await relayer.rpc.call("anvil_dropAllTransactions")
    await set_quorum(relayer, 3, 0)
    await relayer.rpc.call("anvil_mine", ["0x3"])
    relayer.clock.now += timedelta(seconds=20)
    await relayer.send()
    assert await batches(relayer) == [(3, "held", "quorum")]
    # The stored bytes go out again as long as nothing has replaced them.
    await seal_jobs([0])
    for _ in range(2):
        await relayer.send()
    await relayer.rpc.call("anvil_mine")
    await relayer.finalize()
    assert await batches(relayer) == [(3, "held", "quorum"), (0, "final", None)]
    assert await slots(relayer) == [(0, "cancel", "cancelled"), (1, "confirm_batch", "final")]


async def test_a_lane_that_closes_in_flight_lands_by_a_new_nonce(
    relayer: Relayer, seal_jobs: SealJobs
) -> None:
    await set_quorum(relayer, 3, 1)
    await seal_jobs([LANE])
    await relayer.send()
    await relayer.rpc.call("anvil_dropAllTransactions")
    await set_quorum(relayer, 3, 2)
    relayer.clock.now += timedelta(seconds=31)
    await relayer.send()
    await relayer.finalize()
    assert await batches(relayer) == [(3, "held", "quorum")]
    await set_quorum(relayer, 3, 1)
    relayer.clock.now += QUORUM_HELD_FOR
    await relayer.send()
    await relayer.finalize()
    assert await batches(relayer) == [(3, "final", None)]
    assert await slots(relayer) == [(0, "confirm_batch", "reverted"), (1, "confirm_batch", "final")]


@pytest.mark.parametrize("passes", [1, 2])
async def test_what_an_operator_cancels_does_not_go_on_when_its_lane_opens(
    relayer: Relayer, seal_jobs: SealJobs, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    await set_quorum(relayer, 3, 1)
    await seal_jobs([LANE])
    await reserve(relayer, monkeypatch)
    await set_quorum(relayer, 3, 0)
    # The first pass finds the lane closed, the second one gives the nonce up.
    for _ in range(passes):
        await relayer.send()
    assert await batches(relayer) == [(3, "held", "quorum")]
    ((batch_id,),) = await relayer.rows("SELECT id FROM batches")
    async with relayer.db.transaction() as conn:
        await desk.cancel(conn, batch_id, relayer.clock())
    await set_quorum(relayer, 3, 1)
    await relayer.send()
    await relayer.rpc.call("anvil_mine")
    await relayer.finalize()
    relayer.clock.now += QUORUM_HELD_FOR
    await relayer.send()
    assert await batches(relayer) == [(3, "needs_human", "cancelled")]
    assert await slots(relayer) == [(0, "cancel", "cancelled")]
