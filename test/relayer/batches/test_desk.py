"""What operators do about batches that wait, on a real chain."""

from dataclasses import dataclass
from uuid import UUID

import pytest

from relayer.batches import desk
from relayer.batches.desk import DeskError
from relayer.batches.releaser import Releaser
from relayer.chain.keystore import KeystoreSigner
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

from .conftest import MakeBatcher, SealJobs
from .onchain import Relayer


@pytest.fixture
def registry_row(deployed_row: RegistryRow) -> RegistryRow:
    return deployed_row


@dataclass
class Desk:
    """The desk in the role of administration."""

    db: Database
    relayer: Relayer

    async def batch(self) -> UUID:
        ((batch,),) = await self.relayer.rows(
            "SELECT id FROM batches ORDER BY sealed_at DESC, id DESC LIMIT 1"
        )
        return UUID(str(batch))

    async def retry(self, batch: UUID) -> None:
        async with self.db.transaction() as conn:
            await desk.retry(conn, batch)

    async def cancel(self, batch: UUID) -> None:
        async with self.db.transaction() as conn:
            await desk.cancel(conn, batch, self.relayer.clock())

    async def release(self, batch: UUID) -> None:
        async with self.db.transaction() as conn:
            waiting = (await desk.explain(conn, batch)).batch
        sight = await desk.look(self.relayer.rpc, waiting)
        async with self.db.transaction() as conn:
            await desk.release(conn, batch, sight)


@pytest.fixture
def at_desk(admin_db: Database, relayer: Relayer) -> Desk:
    return Desk(admin_db, relayer)


async def test_a_cancelled_batch_is_released_and_its_jobs_are_confirmed_by_another(
    at_desk: Desk,
    relayer: Relayer,
    seal_jobs: SealJobs,
    make_batcher: MakeBatcher,
    epoch: int,
    relayer_db: Database,
) -> None:
    await seal_jobs([0, 300])
    await relayer.send()
    first = await at_desk.batch()
    with pytest.raises(DeskError, match="is sending and cannot be released"):
        await at_desk.release(first)
    await at_desk.cancel(first)
    with pytest.raises(DeskError, match="being cancelled already"):
        await at_desk.cancel(first)
    await relayer.send()
    await relayer.rpc.call("anvil_mine")
    await relayer.send()
    assert await relayer.batch() == ("sending", None)
    await relayer.finalize()
    assert await relayer.batch() == ("needs_human", "cancelled")
    async with at_desk.db.transaction() as conn:
        (waiting,) = await desk.list_waiting(conn)
        explanation = await desk.explain(conn, first)
    assert (waiting.id, waiting.reason, waiting.jobs, waiting.nonce) == (first, "cancelled", 2, None)
    assert [(slot.nonce, slot.state) for slot in explanation.slots] == [(0, "cancelled")]
    assert [one.purpose for one in explanation.attempts] == ["confirm_batch", "cancel"]
    await at_desk.release(first)
    releaser = Releaser(relayer_db, relayer.clock)
    assert await releaser.run_pass(relayer.epochs["sender"]) == 2
    assert await releaser.run_pass(relayer.epochs["sender"]) == 0
    assert await relayer.rows("SELECT DISTINCT state, batch_id FROM jobs") == [("completed", None)]
    # The same jobs make the batch that they were.
    await make_batcher(max_jobs=2).run_pass(epoch)
    await relayer.send()
    await relayer.finalize()
    assert await relayer.batch() == ("final", None)
    assert await relayer.rows("SELECT state FROM chain_txs ORDER BY nonce") == [("cancelled",), ("final",)]
    assert await relayer.rows("SELECT DISTINCT state FROM jobs") == [("confirmed",)]


async def test_a_batch_without_a_nonce_is_cancelled_at_once_and_goes_on_when_it_is_retried(
    at_desk: Desk, relayer: Relayer, seal_jobs: SealJobs
) -> None:
    await seal_jobs([0])
    batch = await at_desk.batch()
    with pytest.raises(DeskError, match="does not wait for anybody"):
        await at_desk.retry(batch)
    await at_desk.cancel(batch)
    await relayer.send()
    assert await relayer.batch() == ("needs_human", "cancelled")
    assert await relayer.rows("SELECT 1 FROM chain_txs") == []
    await at_desk.retry(batch)
    await relayer.send()
    await relayer.finalize()
    assert await relayer.batch() == ("final", None)
    for action in (at_desk.cancel, at_desk.retry, at_desk.release):
        with pytest.raises(DeskError, match="final"):
            await action(batch)


async def test_what_is_on_chain_is_not_released(
    at_desk: Desk, relayer: Relayer, seal_jobs: SealJobs, signer: KeystoreSigner
) -> None:
    await seal_jobs([0])
    batch = await at_desk.batch()
    await relayer.confirm(signer, await relayer.words())
    with pytest.raises(DeskError, match="confirmed on chain"):
        await at_desk.release(batch)
    with pytest.raises(DeskError, match="there is no batch"):
        await at_desk.release(UUID(int=7))


async def test_what_is_mined_or_seen_on_chain_is_not_cancelled(
    at_desk: Desk, relayer: Relayer, seal_jobs: SealJobs
) -> None:
    await seal_jobs([0])
    batch = await at_desk.batch()
    await relayer.send()
    await relayer.rpc.call("anvil_mine", ["0x3"])
    await relayer.send()
    # Its slot is final, and the indexer has not read its event yet.
    assert await relayer.rows("SELECT state FROM chain_txs") == [("final",)]
    with pytest.raises(DeskError, match="on chain already"):
        await at_desk.cancel(batch)
    await relayer.finalize()
    assert await relayer.batch() == ("final", None)
