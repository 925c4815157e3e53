"""The source, the sender, the indexer and the receipts together, on a real chain."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import psycopg
import pytest
from eth_hash.backends.pysha3 import keccak256
from structlog.testing import capture_logs

from relayer.batches import registry_state, repository
from relayer.batches.reasons import HoldReason, HumanReason
from relayer.batches.receipts import ReceiptService
from relayer.batches.source import EVENT_WITHIN, HELD_FOR, BatchSource
from relayer.chain.calls import Leave
from relayer.chain.health import WrongChainError
from relayer.chain.keystore import KeystoreSigner
from relayer.chain.providers import Providers
from relayer.chain.rpc import JsonRpc
from relayer.chain.signer import SignerUnavailableError
from relayer.chain.verifier import Rpc, verify_on_chain
from relayer.local.anvil import Anvil
from relayer.seal.tree import Word
from relayer.seal.verify import Outcome, Pin
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

from .conftest import SealJobs
from .onchain import ADMIN, PAUSE, UNPAUSE, Relayer


@pytest.fixture
def registry_row(deployed_row: RegistryRow) -> RegistryRow:
    return deployed_row


@pytest.fixture(autouse=True)
def nodes_are_asked_outside_of_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that answers slowly would hold locks that others wait for."""
    begin, exchange = Database.transaction, JsonRpc._exchange
    transactions = 0

    @asynccontextmanager
    async def counted(self: Database, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        nonlocal transactions
        async with begin(self, *args, **kwargs) as conn:
            transactions += 1
            try:
                yield conn
            finally:
                transactions -= 1

    async def asked(self: JsonRpc, body: Any, limit: int) -> Any:
        assert not transactions, f"a transaction is open while a node is asked {body}"
        return await exchange(self, body, limit)

    monkeypatch.setattr(Database, "transaction", counted)
    monkeypatch.setattr(JsonRpc, "_exchange", asked)


async def _require_valid(
    relayer: Relayer, receipts: ReceiptService, tenant: UUID, ids: Sequence[UUID], url: str
) -> None:
    pin = Pin(relayer.registry.chain_id, relayer.registry.address)
    with Rpc(url) as rpc:
        for job_id in ids:
            receipt = await receipts.receipt(tenant, job_id)
            assert receipt is not None
            verdict = verify_on_chain(receipt, rpc, pin)
            assert verdict.outcome is Outcome.VALID, verdict.sentence


@pytest.fixture
def receipts(api_db: Database) -> ReceiptService:
    return ReceiptService(api_db)


async def test_finished_jobs_become_confirmed_and_verify_on_chain(
    relayer: Relayer, seal_jobs: SealJobs, receipts: ReceiptService, tenant: UUID, anvil: Anvil
) -> None:
    ids = await seal_jobs([0, 1, 255, 256, 9_000])
    await relayer.send()
    assert await relayer.batch() == ("sending", None)
    await relayer.rpc.call("anvil_mine")
    await relayer.send()
    assert await relayer.batch() == ("included", None)
    assert await relayer.rows("SELECT DISTINCT state FROM jobs") == [("confirming",)]
    await relayer.finalize()
    assert await relayer.batch() == ("final", None)
    assert await relayer.rows("SELECT DISTINCT state FROM jobs") == [("confirmed",)]
    ((gas_used,),) = await relayer.rows("SELECT gas_used FROM batches")
    assert gas_used > 21_000
    await _require_valid(relayer, receipts, tenant, ids, anvil.rpc_url)


async def test_a_paused_registry_holds_the_batch_until_it_goes_on(
    relayer: Relayer, seal_jobs: SealJobs
) -> None:
    await seal_jobs([0])
    await relayer.transact(ADMIN, PAUSE)
    await relayer.send()
    assert await relayer.batch() == ("held", "paused")
    await relayer.transact(ADMIN, UNPAUSE)
    assert await relayer.send() == 0
    relayer.clock.now += HELD_FOR
    await relayer.send()
    await relayer.finalize()
    assert await relayer.batch() == ("final", None)


async def test_a_batch_that_is_on_chain_already_awaits_its_event(
    relayer: Relayer, seal_jobs: SealJobs, signer: KeystoreSigner
) -> None:
    await seal_jobs([0, 700])
    await relayer.confirm(signer, await relayer.words())
    await relayer.send()
    assert await relayer.batch() == ("sending", None)
    assert await relayer.send() == 0
    await relayer.finalize()
    assert await relayer.batch() == ("final", None)
    assert await relayer.rows("SELECT 1 FROM chain_txs") == []


async def test_a_confirmation_that_vanished_is_made_again(
    relayer: Relayer, seal_jobs: SealJobs, signer: KeystoreSigner
) -> None:
    await seal_jobs([0])
    snapshot = await relayer.rpc.call("evm_snapshot")
    await relayer.confirm(signer, await relayer.words())
    await relayer.send()
    assert await relayer.batch() == ("sending", None)
    assert await relayer.rpc.call("evm_revert", [snapshot])
    await relayer.rpc.call("anvil_mine")
    relayer.clock.now += EVENT_WITHIN
    await relayer.send()
    await relayer.finalize()
    assert await relayer.batch() == ("final", None)


async def test_tickets_spent_under_another_root_need_a_human(
    relayer: Relayer, seal_jobs: SealJobs, signer: KeystoreSigner
) -> None:
    await seal_jobs([0])
    await relayer.confirm(signer, [Word(0, 1, b"\x01" * 32)])
    await relayer.send()
    # Whose a block that is not final makes them is not settled.
    assert await relayer.batch() == ("sending", None)
    await relayer.finalize()
    relayer.clock.now += EVENT_WITHIN
    await relayer.send()
    assert await relayer.batch() == ("needs_human", "integrity")
    assert await relayer.rows("SELECT DISTINCT state FROM jobs") == [("confirming",)]
    assert await relayer.rows("SELECT 1 FROM chain_txs") == []


async def test_a_nonce_that_went_elsewhere_is_no_matter_where_the_batch_is_confirmed(
    relayer: Relayer, seal_jobs: SealJobs, signer: KeystoreSigner
) -> None:
    await seal_jobs([0])
    await relayer.send()
    await relayer.rpc.call("anvil_dropAllTransactions")
    # The same account confirms the batch by another transaction on the same nonce.
    await relayer.confirm(signer, await relayer.words())
    await relayer.rpc.call("anvil_mine", ["0x3"])
    await relayer.send()
    assert await relayer.batch() == ("sending", None)
    assert await relayer.rows("SELECT nonce, state FROM chain_txs") == [(0, "superseded")]
    await relayer.finalize()
    assert await relayer.batch() == ("final", None)


async def test_without_a_node_to_rely_on_batches_are_held_and_go_on_with_the_next_that_there_is(
    relayer: Relayer, seal_jobs: SealJobs
) -> None:
    await seal_jobs([0])
    genuine = relayer.registry.chain_id
    await relayer.rpc.call("anvil_setChainId", [1])
    with pytest.raises(WrongChainError, match="no node is of chain"):
        await relayer.send()
    assert await relayer.batch() == ("held", "provider")
    ((detail,),) = await relayer.rows("SELECT detail FROM batches")
    assert f"it is of chain 1, not {genuine}" in detail
    assert await relayer.rows("SELECT 1 FROM chain_txs") == []
    await relayer.rpc.call("anvil_setChainId", [genuine])
    relayer.clock.now += HELD_FOR
    await relayer.send()
    await relayer.finalize()
    assert await relayer.batch() == ("final", None)


async def test_one_stopped_batch_does_not_hold_up_the_next(
    relayer: Relayer, seal_jobs: SealJobs, signer: KeystoreSigner
) -> None:
    await seal_jobs([0])
    await relayer.confirm(signer, [Word(0, 1, b"\x01" * 32)])
    await relayer.finalize()
    await seal_jobs([300])
    await relayer.send()
    await relayer.finalize()
    assert await relayer.rows("SELECT state FROM batches ORDER BY id") == [("needs_human",), ("final",)]


@pytest.mark.parametrize(("state", "reasons"), [("held", HoldReason), ("needs_human", HumanReason)])
async def test_the_database_holds_the_closed_lists_of_reasons(
    relayer_db: Database, seal_jobs: SealJobs, state: str, reasons: type[StrEnum]
) -> None:
    await seal_jobs([0])

    async def wait_for(reason: str | None) -> None:
        async with relayer_db.transaction() as conn:
            await conn.execute("UPDATE batches SET state = %s, reason = %s", [state, reason])

    for reason in reasons:
        await wait_for(reason)
    for other in (None, "weather"):
        with pytest.raises(psycopg.errors.CheckViolation, match="batches_reason"):
            await wait_for(other)


async def test_what_stops_a_registry_costs_no_nonce(
    relayer: Relayer, seal_jobs: SealJobs, relayer_db: Database
) -> None:
    await seal_jobs([0])
    async with relayer_db.transaction() as conn:
        await registry_state.freeze(conn, relayer.registry.id, "the database claims more than the chain")
        await conn.execute("UPDATE batches SET state = 'sealed', reason = NULL, retry_at = NULL")
    relayer.clock.now += HELD_FOR
    assert await relayer.send() == 0
    assert await relayer.rows("SELECT DISTINCT state, reason FROM batches") == [("held", "frozen")]
    assert await relayer.rows("SELECT 1 FROM chain_txs") == []


async def test_a_pause_between_the_nonce_and_its_signature_keeps_the_nonce(
    relayer: Relayer, seal_jobs: SealJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seal_jobs([0])

    async def die(*_: object) -> bytes:
        raise SignerUnavailableError("it does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(KeystoreSigner, "sign", die)
        with pytest.raises(SignerUnavailableError):
            await relayer.send()
    assert await relayer.rows("SELECT nonce, state FROM chain_txs") == [(0, "reserved")]
    await relayer.transact(ADMIN, PAUSE)
    await relayer.send()
    assert await relayer.batch() == ("held", "paused")
    assert await relayer.send() == 0
    assert await relayer.rows("SELECT nonce, state FROM chain_txs") == [(0, "reserved")]
    await relayer.transact(ADMIN, UNPAUSE)
    relayer.clock.now += HELD_FOR
    await relayer.send()
    await relayer.finalize()
    assert await relayer.batch() == ("final", None)
    assert await relayer.rows("SELECT nonce, state FROM chain_txs") == [(0, "final")]


async def test_a_role_that_is_lost_holds_and_one_that_is_lost_in_flight_needs_a_human(
    relayer: Relayer, seal_jobs: SealJobs, signer: KeystoreSigner
) -> None:
    await seal_jobs([0])
    confirmer = signer.address.rjust(32, b"\0").hex()
    role = keccak256(b"CONFIRMER_ROLE").hex()
    revoke, grant = (
        f"0x{keccak256(call.encode())[:4].hex()}{role}{confirmer}"
        for call in ("revokeRole(bytes32,address)", "grantRole(bytes32,address)")
    )
    await relayer.transact(ADMIN, revoke)
    await relayer.send()
    assert await relayer.batch() == ("held", "role_lost")
    assert await relayer.rows("SELECT 1 FROM chain_txs") == []
    await relayer.transact(ADMIN, grant)
    relayer.clock.now += HELD_FOR
    await relayer.send()
    assert await relayer.batch() == ("sending", None)
    # In flight: what is out reverts, and whoever took the role away has to be asked.
    await relayer.rpc.call("anvil_dropAllTransactions")
    await relayer.transact(ADMIN, revoke)
    relayer.clock.now += timedelta(seconds=31)
    await relayer.send()
    await relayer.finalize()
    assert await relayer.batch() == ("needs_human", "role")
    assert await relayer.rows("SELECT nonce, state FROM chain_txs") == [(0, "reverted")]


async def test_a_batch_that_was_paused_in_flight_lands_by_a_new_nonce(
    relayer: Relayer, seal_jobs: SealJobs
) -> None:
    await seal_jobs([0])
    await relayer.send()
    await relayer.rpc.call("anvil_dropAllTransactions")
    await relayer.transact(ADMIN, PAUSE)
    relayer.clock.now += timedelta(seconds=31)
    await relayer.send()
    await relayer.finalize()
    assert await relayer.batch() == ("held", "paused")
    await relayer.transact(ADMIN, UNPAUSE)
    relayer.clock.now += HELD_FOR
    await relayer.send()
    await relayer.finalize()
    assert await relayer.batch() == ("final", None)
    assert await relayer.rows("SELECT nonce, state FROM chain_txs ORDER BY nonce") == [
        (0, "reverted"),
        (1, "final"),
    ]


async def test_a_batch_goes_on_when_the_account_has_money_again(
    relayer: Relayer, seal_jobs: SealJobs, signer: KeystoreSigner
) -> None:
    await seal_jobs([0])
    account = f"0x{signer.address.hex()}"
    await relayer.rpc.call("anvil_setBalance", [account, hex(10**14)])
    with capture_logs() as said:
        await relayer.send()
        relayer.clock.now += HELD_FOR
        await relayer.send()
    assert await relayer.batch() == ("held", "funds")
    assert [one["reason"] for one in said if one["event"] == "batch_held"] == ["funds"]
    await relayer.rpc.call("anvil_setBalance", [account, hex(10**20)])
    relayer.clock.now += HELD_FOR
    await relayer.send()
    await relayer.finalize()
    assert await relayer.batch() == ("final", None)


async def test_a_nonce_waits_for_what_was_only_seen_in_a_block_that_may_be_taken_back(
    relayer: Relayer, seal_jobs: SealJobs
) -> None:
    await seal_jobs([0])
    ((batch, root),) = await relayer.rows("SELECT id, root FROM batches")
    source = BatchSource(
        relayer.db,
        relayer.registry,
        Providers([relayer.rpc], relayer.registry.chain_id, clock=relayer.clock),
        relayer.clock,
    )
    block = bytes(32)
    async with relayer.db.transaction() as conn:
        await repository.hint_included(
            conn,
            relayer.registry.id,
            root,
            transaction_hash=bytes(32),
            block_number=1,
            block_hash=block,
            at=relayer.clock(),
        )
        assert await source.leave(conn, batch) is Leave.WAIT
        await repository.unhint_included(conn, relayer.registry.id, root, block)
        assert await source.leave(conn, batch) is Leave.GO
