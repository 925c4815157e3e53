import subprocess
import sys
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

import pytest
from eth_abi.abi import encode
from structlog.testing import capture_logs

from relayer.batches.handlers import on_batch_confirmed
from relayer.batches.receipts import ReceiptDefectError, ReceiptService
from relayer.chain.calls import FinalEvent
from relayer.chain.registry import BATCH_CONFIRMED_TOPIC
from relayer.seal.receipt import Receipt
from relayer.seal.verify import Outcome, Pin, check
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

from .conftest import NOON, HeldClock, SealJobs


@dataclass
class Chain:
    """Seals jobs, and announces their batch as the registry would."""

    seal: SealJobs
    db: Database
    registry: RegistryRow
    clock: HeldClock

    async def event(self, root: bytes | None = None) -> FinalEvent:
        """What the registry announces of the only batch there is, or of another root."""
        async with self.db.transaction() as conn:
            batch = await (await conn.execute("SELECT root, leaf_count FROM batches")).fetchone()
            assert batch is not None
            words = await (
                await conn.execute("SELECT index, mask, root FROM batch_words ORDER BY index")
            ).fetchall()
        return FinalEvent(
            chain_id=self.registry.chain_id,
            address=self.registry.address,
            block_number=7,
            block_hash=b"\x07" * 32,
            block_time=NOON,
            transaction_hash=b"\x08" * 32,
            log_index=0,
            topics=(BATCH_CONFIRMED_TOPIC, root or batch[0], bytes(32), bytes(32)),
            data=encode(
                ["uint32", "uint8", "(uint64,uint256,bytes32)[]"],
                [batch[1], 1, [(index, int.from_bytes(mask), word_root) for index, mask, word_root in words]],
            ),
        )

    async def confirm(self, event: FinalEvent | None = None) -> None:
        event = event or await self.event()
        async with self.db.transaction() as conn:
            await on_batch_confirmed(conn, event, self.clock)


@pytest.fixture
def chain(seal_jobs: SealJobs, relayer_db: Database, registry_row: RegistryRow, clock: HeldClock) -> Chain:
    return Chain(seal_jobs, relayer_db, registry_row, clock)


@pytest.fixture
def receipts(api_db: Database) -> ReceiptService:
    return ReceiptService(api_db)


@pytest.mark.parametrize(
    "tickets",
    [
        pytest.param(range(1), id="one"),
        pytest.param(range(2), id="two"),
        pytest.param(range(255), id="word-less-one"),
        pytest.param(range(256), id="word"),
        pytest.param(range(257), id="word-and-one"),
        pytest.param(range(99, 40_000, 401), id="scattered"),
    ],
)
async def test_every_job_gets_a_receipt_that_proves_it(
    tickets: range, chain: Chain, receipts: ReceiptService, tenant: UUID
) -> None:
    ids = await chain.seal(tickets)
    assert await receipts.receipt(tenant, ids[0]) is None
    await chain.confirm()
    pin = Pin(chain.registry.chain_id, chain.registry.address)
    for job_id, ticket in zip(ids, tickets, strict=True):
        receipt = await receipts.receipt(tenant, job_id)
        assert receipt is not None
        assert (receipt.job.job_id, receipt.job.ticket) == (job_id.bytes, ticket)
        assert (receipt.block_number, receipt.transaction_hash) == (7, b"\x08" * 32)
        assert Receipt.from_json(receipt.to_json()) == receipt
        assert check(receipt, pin).outcome is Outcome.CONSISTENT


async def test_an_event_applied_twice_confirms_once(chain: Chain, relayer_db: Database) -> None:
    async def state() -> list[tuple[object, ...]]:
        async with relayer_db.transaction() as conn:
            cursor = await conn.execute(
                """SELECT j.state, j.state_version, j.confirmed_at, b.state, b.final_at, b.block_number,
                          (SELECT count(*) FROM job_events), (SELECT count(*) FROM outbox)
                   FROM jobs j JOIN batches b ON b.id = j.batch_id"""
            )
            return await cursor.fetchall()

    await chain.seal(range(3))
    await chain.confirm()
    before = await state()
    assert before == [("confirmed", 5, NOON, "final", NOON, 7, 6, 3)] * 3
    chain.clock.now = NOON.replace(year=2031)
    await chain.confirm()
    assert await state() == before


async def test_a_foreign_batch_that_holds_our_tickets_stops_ours(chain: Chain, relayer_db: Database) -> None:
    await chain.seal([0])
    with capture_logs() as logs:
        await chain.confirm(await chain.event(root=b"\x09" * 32))
    assert [(log["event"], log["log_level"]) for log in logs] == [
        ("external_batch", "warning"),
        ("tickets_burnt", "critical"),
    ]
    async with relayer_db.transaction() as conn:
        rows = await (await conn.execute("SELECT j.state, b.state FROM jobs j, batches b")).fetchall()
    assert rows == [("confirming", "needs_human")]


async def test_another_tenant_gets_nothing(
    chain: Chain, receipts: ReceiptService, tenant: UUID, other_tenant: UUID
) -> None:
    (job_id,) = await chain.seal([0])
    await chain.confirm()
    assert await receipts.receipt(tenant, job_id) is not None
    assert await receipts.receipt(other_tenant, job_id) is None


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE batch_leaves SET leaf = sha256(leaf) WHERE ticket = 1",
        "DELETE FROM batch_leaves WHERE ticket = 0",
        "DELETE FROM batch_words WHERE index = 0",
        "UPDATE jobs SET salt = sha256(salt) WHERE ticket = 0",
    ],
)
async def test_no_receipt_is_given_that_fails_its_own_check(
    damage: LiteralString, chain: Chain, receipts: ReceiptService, tenant: UUID, owner_db: Database
) -> None:
    job_id, _, _ = await chain.seal([0, 1, 300])
    await chain.confirm()
    async with owner_db.transaction() as conn:
        await conn.execute(damage)
    with pytest.raises(ReceiptDefectError, match=str(job_id)):
        await receipts.receipt(tenant, job_id)


def test_giving_receipts_needs_no_library_of_the_chain() -> None:
    script = "import sys, relayer.batches.receipts; print({'web3', 'ape', 'eth_abi'} & sys.modules.keys())"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
