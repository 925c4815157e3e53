"""What final events, the head of the chain and the bare state mean for batches and jobs, on the real registry."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from eth_abi.abi import encode
from eth_hash.backends.pysha3 import keccak256

from relayer.batches import desk, foreign_repository
from relayer.batches.handlers import on_final_event
from relayer.batches.head_watch import HeadWatch
from relayer.batches.state_fallback import StateFallback
from relayer.chain.health import HealthPolicy
from relayer.chain.indexer import LEASE, Indexer
from relayer.chain.keystore import KeystoreSigner
from relayer.chain.node import Node
from relayer.chain.providers import Providers
from relayer.chain.rpc import JsonRpc, Request, RpcError
from relayer.seal.tree import Word
from relayer.store.registries import RegistryRow

from .conftest import MAX_AGE, InsertFinished, MakeBatcher, SealJobs
from .onchain import ADMIN, PAUSE, UNPAUSE, Relayer

FOREIGN = b"\x01" * 32
CONFIRMER_ROLE = keccak256(b"CONFIRMER_ROLE")
IMPLEMENTATION_SLOT = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"


@pytest.fixture
def registry_row(deployed_row: RegistryRow) -> RegistryRow:
    return deployed_row


@pytest.fixture
def watched(relayer: Relayer, signer: KeystoreSigner) -> Relayer:
    """The relayer whose indexer looks at the head too."""
    watch = HeadWatch(relayer.db, relayer.registry, signer.address, lease=LEASE, clock=relayer.clock)
    relayer.indexer = indexer(relayer, head=watch)
    return relayer


def indexer(relayer: Relayer, rpc: JsonRpc | None = None, **handlers: Any) -> Indexer:
    policy = HealthPolicy(fresh_for=timedelta(0), look_within=timedelta(minutes=1))
    return Indexer(
        relayer.db,
        Providers([rpc or relayer.rpc], relayer.registry.chain_id, policy=policy, clock=relayer.clock),
        chain_id=relayer.registry.chain_id,
        address=relayer.registry.address,
        first_block=relayer.registry.first_block,
        handler=on_final_event,
        clock=relayer.clock,
        **handlers,
    )


def role_call(name: str, account: bytes) -> str:
    selector = keccak256(f"{name}(bytes32,address)".encode())[:4]
    return f"0x{(selector + encode(['bytes32', 'address'], [CONFIRMER_ROLE, f'0x{account.hex()}'])).hex()}"


async def index(relayer: Relayer) -> None:
    while await relayer.indexer.run_pass(relayer.epochs["indexer"]):
        pass


async def test_pause_role_and_code_hold_what_is_sealed_and_no_nonce_is_taken(
    watched: Relayer, seal_jobs: SealJobs, signer: KeystoreSigner
) -> None:
    await index(watched)
    await seal_jobs([0])

    await watched.transact(ADMIN, PAUSE)
    await index(watched)
    assert await watched.batch() == ("held", "paused")
    await watched.send()
    await watched.transact(ADMIN, UNPAUSE)
    await index(watched)
    assert await watched.batch() == ("sealed", None)

    await watched.transact(ADMIN, role_call("revokeRole", signer.address))
    await index(watched)
    assert await watched.batch() == ("held", "role_lost")
    await watched.transact(ADMIN, role_call("grantRole", signer.address))
    await index(watched)
    assert await watched.batch() == ("sealed", None)

    # An upgrade as it is seen from outside: another address in the slot, with other code.
    registry = f"0x{watched.registry.address.hex()}"
    before = await watched.rpc.call("eth_getStorageAt", [registry, IMPLEMENTATION_SLOT, "latest"])
    code = await watched.rpc.call("eth_getCode", [f"0x{before[-40:]}", "latest"])
    await watched.rpc.call("anvil_setCode", ["0x" + "77" * 20, f"{code}00"])
    slot = f"0x{'00' * 12}{'77' * 20}"
    await watched.rpc.call("anvil_setStorageAt", [registry, IMPLEMENTATION_SLOT, slot])
    await watched.rpc.call("anvil_mine")
    watched.clock.now = watched.clock.now.replace(hour=13)
    await index(watched)
    assert await watched.batch() == ("held", "code_changed")
    assert await watched.rows("SELECT 1 FROM chain_txs") == []


async def test_a_batch_that_somebody_else_confirms_is_hinted_at_taken_back_and_counts_in_the_end(
    watched: Relayer, seal_jobs: SealJobs, signer: KeystoreSigner
) -> None:
    await index(watched)
    await seal_jobs([0, 700])
    words = [
        Word(number, int.from_bytes(mask), root)
        for number, mask, root in await watched.rows(
            "SELECT index, mask, root FROM batch_words ORDER BY index"
        )
    ]
    snapshot = await watched.rpc.call("evm_snapshot")
    await watched.confirm(signer, words)
    await index(watched)
    assert await watched.batch() == ("included", None)
    assert await watched.send() == 0
    assert await watched.rpc.call("evm_revert", [snapshot])
    await watched.rpc.call("anvil_mine", ["0x2", "0x7"])
    await index(watched)
    assert await watched.batch() == ("sealed", None)
    await watched.confirm(signer, words)
    await watched.rpc.call("anvil_mine", ["0x3"])
    await index(watched)
    assert await watched.batch() == ("final", None)
    assert await watched.rows("SELECT DISTINCT state FROM jobs") == [("confirmed",)]
    assert await watched.rows("SELECT 1 FROM external_batches") == []


async def test_foreign_words_are_imported_and_ours_among_them_stop_their_batch(
    watched: Relayer, seal_jobs: SealJobs, insert_finished: InsertFinished, signer: KeystoreSigner
) -> None:
    (burnt, _) = await seal_jobs([3, 4])
    await insert_finished([70_000])
    await watched.confirm(signer, [Word(0, 1 << 3 | 1 << 200, FOREIGN), Word(90, 5, FOREIGN)])
    await watched.rpc.call("anvil_mine", ["0x3"])
    await index(watched)
    assert await watched.batch() == ("needs_human", "integrity")
    assert await watched.rows("SELECT DISTINCT state FROM jobs WHERE ticket < 256") == [("confirming",)]
    assert await watched.rows("SELECT ticket, job_id FROM burnt_tickets") == [(3, burnt)]
    ((jobs, submitter),) = await watched.rows("SELECT jobs, submitter FROM external_batches")
    assert (jobs, bytes(submitter)) == (4, signer.address)
    masks = {
        number: int.from_bytes(mask)
        for number, mask in await watched.rows("SELECT index, mask FROM external_words")
    }
    assert masks == {0: 1 << 3 | 1 << 200, 90: 5}
    async with watched.db.transaction() as conn:
        drawn = await foreign_repository.next_ticket(conn, watched.registry.id, 0)
    assert drawn is not None
    assert drawn > 90 * 256 + 255


@pytest.mark.parametrize("lost", ["its batch was released", "its batch is not in the database any more"])
async def test_what_is_our_own_and_was_lost_freezes_the_registry_and_runs_nothing_anew(
    watched: Relayer,
    seal_jobs: SealJobs,
    signer: KeystoreSigner,
    superuser: psycopg.Connection[Any],
    lost: str,
) -> None:
    await index(watched)
    await seal_jobs([0, 700])
    words = [
        Word(number, int.from_bytes(mask), root)
        for number, mask, root in await watched.rows(
            "SELECT index, mask, root FROM batch_words ORDER BY index"
        )
    ]
    superuser.execute("UPDATE jobs SET state = 'completed', batch_id = NULL")
    superuser.execute(
        """UPDATE batches SET state = 'released', released_number = 1, released_hash = root,
                              released_block_time = now(), returned_at = now()"""
    )
    if lost != "its batch was released":
        # What is left is an earlier transaction of the account's.
        superuser.execute(
            """INSERT INTO chain_txs (id, chain_id, sender, nonce, purpose, batch_id, target, calldata, state, lease_epoch,
                                      settled_number, settled_hash,
                                      created_at, updated_at)
               SELECT id, %s, %s, 77, 'confirm_batch', id, %s, '', 'reverted', 1, 1, root, now(), now() FROM batches""",
            [watched.registry.chain_id, signer.address, watched.registry.address],
        )
        superuser.execute("DELETE FROM batch_words; DELETE FROM batch_leaves; DELETE FROM batches")
    await watched.confirm(signer, words)
    await watched.rpc.call("anvil_mine", ["0x3"])
    await index(watched)
    assert await watched.rows("SELECT DISTINCT state FROM jobs") == [("completed",)]
    ((reason,),) = await watched.rows("SELECT frozen_reason FROM registry_states")
    assert "is final and our own" in reason


async def test_finished_jobs_whose_tickets_others_spent_run_anew_and_are_never_sealed(
    watched: Relayer,
    insert_finished: InsertFinished,
    make_batcher: MakeBatcher,
    epoch: int,
    signer: KeystoreSigner,
) -> None:
    spent, free = await insert_finished([3, 4])
    await watched.confirm(signer, [Word(0, 1 << 3 | 1 << 9, FOREIGN)])
    await watched.rpc.call("anvil_mine", ["0x3"])
    await index(watched)
    failed = "SELECT id FROM jobs WHERE state = 'failed' AND error->>'code' = 'ticket_spent' ORDER BY ticket"
    anew = "SELECT rerun_of, ticket > 255 FROM jobs WHERE state = 'created' ORDER BY ticket"
    assert await watched.rows(failed) == [(spent,)]
    assert await watched.rows(anew) == [(spent, True)]
    # One that was drawn while the batch was imported, and is finished later.
    (late,) = await insert_finished([9])
    batcher = make_batcher(max_jobs=2)
    assert await batcher.run_pass(epoch) == 1
    assert await watched.rows(failed) == [(spent,), (late,)]
    assert await watched.rows(anew) == [(spent, True), (late, True)]
    events = "SELECT job_id, actor FROM job_events WHERE to_state = 'failed' ORDER BY actor"
    assert await watched.rows(events) == [(late, "batcher"), (spent, "indexer")]
    watched.clock.now += MAX_AGE
    assert await batcher.run_pass(epoch) == 1
    assert await watched.rows("SELECT id FROM jobs WHERE state = 'confirming'") == [(free,)]
    assert await watched.rows("SELECT ticket FROM batch_leaves") == [(4,)]


async def test_words_far_ahead_do_not_use_up_the_lane(watched: Relayer, signer: KeystoreSigner) -> None:
    await watched.confirm(signer, [Word((1 << 48) - 1, 1, FOREIGN)])
    await watched.rpc.call("anvil_mine", ["0x3"])
    await index(watched)
    assert len(await watched.rows("SELECT 1 FROM external_batches")) == 1
    async with watched.db.transaction() as conn:
        drawn = await foreign_repository.next_ticket(conn, watched.registry.id, 0)
    assert drawn is not None
    assert drawn < 1 << 20


async def test_a_final_revocation_is_an_attribute_of_confirmed_jobs_and_news(
    watched: Relayer, seal_jobs: SealJobs
) -> None:
    ids: list[UUID] = await seal_jobs([0, 1, 300])
    await watched.send()
    await watched.finalize()
    assert await watched.rows("SELECT DISTINCT state FROM jobs") == [("confirmed",)]
    selector = keccak256(b"revoke((uint64,uint256)[],bytes32)")[:4]
    call = selector + encode(["(uint64,uint256)[]", "bytes32"], [[(0, 2)], b"\x05" * 32])
    await watched.transact(ADMIN, f"0x{call.hex()}")
    await index(watched)
    assert await watched.rows("SELECT 1 FROM jobs WHERE revoked_at IS NOT NULL") == []
    await watched.rpc.call("anvil_mine", ["0x3"])
    await index(watched)
    assert await watched.rows("SELECT id, state FROM jobs WHERE revoked_at IS NOT NULL") == [
        (ids[1], "confirmed")
    ]
    assert await watched.rows("SELECT job_id FROM outbox WHERE topic = 'job.revoked'") == [(ids[1],)]


class Blind(JsonRpc):
    """A node that gives neither logs nor the receipts of blocks."""

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        for method, _ in requests:
            if method == "eth_getLogs":
                raise RpcError(self.address, method, {"code": -32000, "message": "no logs here"})
        return await super().batch(requests)

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        if method in ("eth_getBlockReceipts", "eth_getBlockByHash"):
            raise RpcError(self.address, method, {"code": -32601, "message": "method not found"})
        return await super().call(method, params)


async def test_without_logs_the_state_confirms_what_we_sent_and_names_what_it_cannot(
    relayer: Relayer, seal_jobs: SealJobs
) -> None:
    # The registry itself has to be final before its state can be read there.
    await relayer.rpc.call("anvil_mine", ["0x3"])
    await seal_jobs([0, 1])
    await relayer.send()
    await relayer.rpc.call("anvil_mine")
    await relayer.send()
    fallback = StateFallback(relayer.db, relayer.registry, lease=LEASE, clock=relayer.clock)
    async with Blind(relayer.rpc.address, timedelta(minutes=1)) as blind:
        node = Node(blind)
        # Not final yet.
        _, finalized = await node.heads()
        assert await fallback.logs_lost(node, finalized, relayer.epochs["indexer"]) == 0
        await relayer.rpc.call("anvil_mine", ["0x3"])
        relayer.indexer = indexer(relayer, blind, lost=fallback)
        with pytest.raises(RpcError):
            await relayer.indexer.run_pass(relayer.epochs["indexer"])
    assert await relayer.batch() == ("final", None)
    assert await relayer.rows("SELECT DISTINCT state FROM jobs") == [("confirmed",)]
    # The event, when it comes after all, changes nothing.
    relayer.indexer = indexer(relayer)
    await index(relayer)
    assert await relayer.batch() == ("final", None)
    assert await relayer.rows("SELECT 1 FROM external_batches") == []


class Counted(JsonRpc):
    """Counts the exchanges with the node."""

    exchanges = 0

    async def _exchange(self, body: Any, limit: int) -> Any:
        self.exchanges += 1
        return await super()._exchange(body, limit)


async def test_without_logs_the_state_of_many_words_is_asked_for_at_once(
    relayer: Relayer, seal_jobs: SealJobs
) -> None:
    await relayer.rpc.call("anvil_mine", ["0x3"])
    await seal_jobs([index << 8 for index in range(120)])
    await relayer.send()
    await relayer.rpc.call("anvil_mine", ["0x4"])
    fallback = StateFallback(relayer.db, relayer.registry, lease=LEASE, clock=relayer.clock)
    async with Counted(relayer.rpc.address, timedelta(minutes=1)) as counted:
        node = Node(counted)
        _, finalized = await node.heads()
        before = counted.exchanges
        assert await fallback.logs_lost(node, finalized, relayer.epochs["indexer"]) == 1
    # The root, 120 words by a hundred, the receipt, its block.
    assert counted.exchanges - before == 5
    assert await relayer.batch() == ("final", None)


async def test_without_logs_a_batch_is_not_said_to_be_confirmed_by_what_cancelled_it_before(
    relayer: Relayer, seal_jobs: SealJobs
) -> None:
    await relayer.rpc.call("anvil_mine", ["0x3"])
    await seal_jobs([0])
    await relayer.send()
    ((batch,),) = await relayer.rows("SELECT id FROM batches")
    async with relayer.db.transaction() as conn:
        await desk.cancel(conn, batch, relayer.clock())
    await relayer.send()
    await relayer.rpc.call("anvil_mine", ["0x3"])
    await relayer.send()
    assert await relayer.batch() == ("needs_human", "cancelled")
    async with relayer.db.transaction() as conn:
        await desk.retry(conn, batch)
    await relayer.send()
    await relayer.rpc.call("anvil_mine", ["0x3"])
    fallback = StateFallback(relayer.db, relayer.registry, lease=LEASE, clock=relayer.clock)
    node = Node(relayer.rpc)
    _, finalized = await node.heads()
    assert await fallback.logs_lost(node, finalized, relayer.epochs["indexer"]) == 1
    assert await relayer.rows(
        "SELECT a.purpose FROM batches b JOIN tx_attempts a ON a.hash = b.transaction_hash"
    ) == [("confirm_batch",)]
