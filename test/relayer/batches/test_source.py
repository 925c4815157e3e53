"""The source, the sender, the indexer and the receipts together, on a real chain."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import psycopg
import pytest
from eth_account import Account

from relayer.batches.handlers import on_batch_confirmed
from relayer.batches.reasons import HoldReason, HumanReason
from relayer.batches.receipts import ReceiptService
from relayer.batches.source import EVENT_WITHIN, HELD_FOR, BatchSource
from relayer.chain.fees import Fees
from relayer.chain.indexer import Indexer
from relayer.chain.keystore import KeystoreSigner
from relayer.chain.providers import Providers
from relayer.chain.registry import RegistryClient
from relayer.chain.rpc import JsonRpc
from relayer.chain.sender import Sender
from relayer.chain.verifier import Rpc, verify_on_chain
from relayer.local.anvil import Anvil
from relayer.seal.tree import Word
from relayer.seal.verify import Outcome, Pin
from relayer.store import leases, registries
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

from .conftest import HeldClock, SealJobs

ADMIN = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
# anvil's second account, known to everyone.
CONFIRMER_KEY = bytes.fromhex("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d")
PAUSE, UNPAUSE = "0x8456cb59", "0x3f4ba83a"


@pytest.fixture
def anvil(make_anvil: Callable[..., Anvil]) -> Anvil:
    return make_anvil("auto")


@pytest.fixture
def signer(tmp_path: Path) -> KeystoreSigner:
    keystore, password = tmp_path / "keystore.json", tmp_path / "password"
    keystore.write_bytes(orjson.dumps(Account.encrypt(CONFIRMER_KEY, "open", kdf="pbkdf2", iterations=1)))
    password.write_text("open\n")
    return KeystoreSigner(keystore, password)


@pytest.fixture
async def registry_row(
    owner_db: Database,
    anvil: Anvil,
    deploy_registry: Callable[..., tuple[bytes, int]],
    signer: KeystoreSigner,
) -> RegistryRow:
    """The registry of this file: deployed, not only registered."""
    address, first_block = deploy_registry(anvil.rpc_url, [f"0x{signer.address.hex()}"])
    async with owner_db.transaction() as conn:
        return await registries.register(conn, anvil.chain_id, address, first_block)


@dataclass
class Relayer:
    """The sender and the indexer over the batches of a real registry."""

    db: Database
    rpc: JsonRpc
    registry: RegistryRow
    sender: Sender
    indexer: Indexer
    clock: HeldClock
    epochs: dict[str, int]

    async def send(self) -> int:
        return await self.sender.run_pass(self.epochs["sender"])

    async def finalize(self) -> None:
        """Bring three more blocks, and let sender and indexer see them."""
        await self.rpc.call("anvil_mine", ["0x3"])
        await self.send()
        while await self.indexer.run_pass(self.epochs["indexer"]):
            pass

    async def transact(self, sender: str, data: str) -> None:
        """Send a transaction to the registry past the platform."""
        call = {"from": sender, "to": f"0x{self.registry.address.hex()}", "data": data}
        transaction = await self.rpc.call("eth_sendTransaction", [call])
        await self.rpc.call("anvil_mine")
        receipt = await self.rpc.call("eth_getTransactionReceipt", [transaction])
        assert receipt["status"] == "0x1"

    async def confirm(self, signer: KeystoreSigner, words: Sequence[Word]) -> None:
        """Confirm words from the confirmer's account past the platform."""
        await self.transact(
            f"0x{signer.address.hex()}", f"0x{RegistryClient.encode_confirm_batch(words).hex()}"
        )

    async def rows(self, column: Any) -> list[tuple[Any, ...]]:
        async with self.db.transaction() as conn:
            return await (await conn.execute(column)).fetchall()

    async def batch(self) -> tuple[str, str | None]:
        ((state, reason),) = await self.rows("SELECT state, reason FROM batches")
        return state, reason


@pytest.fixture
async def relayer(
    relayer_db: Database, anvil: Anvil, registry_row: RegistryRow, signer: KeystoreSigner, clock: HeldClock
) -> AsyncIterator[Relayer]:
    epochs = {}
    async with relayer_db.transaction() as conn:
        for name in ("sender", "indexer"):
            epoch = await leases.acquire(conn, name, "test", timedelta(hours=1))
            assert epoch is not None
            epochs[name] = epoch
    async with JsonRpc(anvil.rpc_url, timedelta(seconds=10)) as rpc:
        await rpc.call("evm_setAutomine", [False])
        client = RegistryClient(rpc, registry_row.chain_id, registry_row.address)
        sender = Sender(
            relayer_db,
            rpc,
            signer=signer,
            chain_id=registry_row.chain_id,
            source=BatchSource(registry_row, client, clock),
            fees=Fees(500 * 10**9),
            clock=clock,
        )
        indexer = Indexer(
            relayer_db,
            Providers([rpc], registry_row.chain_id, clock=clock),
            chain_id=registry_row.chain_id,
            address=registry_row.address,
            first_block=registry_row.first_block,
            handler=on_batch_confirmed,
            clock=clock,
        )
        yield Relayer(relayer_db, rpc, registry_row, sender, indexer, clock, epochs)


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
    await relayer.confirm(signer, await _words(relayer))
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
    await relayer.confirm(signer, await _words(relayer))
    await relayer.send()
    assert await relayer.batch() == ("sending", None)
    assert await relayer.rpc.call("evm_revert", [snapshot])
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
    assert await relayer.batch() == ("needs_human", "integrity")
    await relayer.finalize()
    assert await relayer.batch() == ("needs_human", "integrity")
    assert await relayer.rows("SELECT DISTINCT state FROM jobs") == [("confirming",)]


async def test_one_stopped_batch_does_not_hold_up_the_next(
    relayer: Relayer, seal_jobs: SealJobs, signer: KeystoreSigner
) -> None:
    await seal_jobs([0])
    await relayer.confirm(signer, [Word(0, 1, b"\x01" * 32)])
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


async def _words(relayer: Relayer) -> list[Word]:
    return [
        Word(index, int.from_bytes(mask), root)
        for index, mask, root in await relayer.rows(
            "SELECT index, mask, root FROM batch_words ORDER BY index"
        )
    ]
