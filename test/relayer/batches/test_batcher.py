import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from relayer.batches.manifest import SPACE, JobRecord, ManifestCipher
from relayer.seal.commitment import leaf
from relayer.seal.tree import MAX_WORDS, seal_batch
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database
from relayer.store.leases import LeaseLostError

from .conftest import KEY, MAX_AGE, NOON, HeldClock, InsertFinished, MakeBatcher


async def _rows(db: Database, statement: str) -> list[tuple[object, ...]]:
    async with db.transaction() as conn:
        return await (await conn.execute(statement)).fetchall()


async def test_nothing_is_sealed_before_its_time(
    make_batcher: MakeBatcher, insert_finished: InsertFinished, clock: HeldClock, epoch: int
) -> None:
    await insert_finished(range(3))
    batcher = make_batcher(max_jobs=4)
    clock.now = NOON + MAX_AGE - timedelta(microseconds=1)
    assert await batcher.run_pass(epoch) == 0
    clock.now = NOON + MAX_AGE
    assert await batcher.run_pass(epoch) == 3
    assert await batcher.run_pass(epoch) == 0


async def test_enough_jobs_are_sealed_at_once_oldest_first(
    make_batcher: MakeBatcher, insert_finished: InsertFinished, relayer_db: Database, epoch: int
) -> None:
    newer = await insert_finished([0, 1], ready_at=NOON)
    older = await insert_finished([2, 3], ready_at=NOON - timedelta(seconds=1))
    assert await make_batcher(max_jobs=2).run_pass(epoch) == 2
    confirming = await _rows(relayer_db, "SELECT id FROM jobs WHERE state = 'confirming'")
    assert {row[0] for row in confirming} == set(older)
    assert {
        row[0] for row in await _rows(relayer_db, "SELECT id FROM jobs WHERE state = 'completed'")
    } == set(newer)


async def test_a_batch_holds_at_most_512_words(
    make_batcher: MakeBatcher, insert_finished: InsertFinished, epoch: int
) -> None:
    await insert_finished([index << 8 for index in range(MAX_WORDS + 3)])
    batcher = make_batcher(max_jobs=MAX_WORDS + 3)
    assert await batcher.run_pass(epoch) == MAX_WORDS


async def test_a_critical_lane_is_left_alone(
    make_batcher: MakeBatcher, insert_finished: InsertFinished, epoch: int
) -> None:
    await insert_finished([1 << 56])
    assert await make_batcher(max_jobs=1).run_pass(epoch) == 0


async def test_the_manifest_restores_what_was_sealed(
    make_batcher: MakeBatcher,
    insert_finished: InsertFinished,
    blobs: LocalBlobStore,
    relayer_db: Database,
    epoch: int,
    tenant: UUID,
) -> None:
    ids = await insert_finished([5, 300, 70_000])
    assert await make_batcher(max_jobs=3).run_pass(epoch) == 3
    ((root, count, state),) = await _rows(relayer_db, "SELECT root, leaf_count, state FROM batches")
    assert isinstance(root, bytes)
    assert (count, state) == (3, "sealed")
    data = await blobs.get_named(SPACE, root.hex())
    assert data is not None
    manifest = ManifestCipher(KEY).decrypt(root, data)
    jobs = [job.confirmation for job in manifest.jobs]
    assert {UUID(bytes=job.job_id) for job in jobs} == set(ids)
    assert {job.completed_at for job in jobs} == {int(NOON.replace(microsecond=0).timestamp())}
    record = JobRecord(tenant, "digest", {}, 0, "application/json", NOON, NOON)
    assert [job.record for job in manifest.jobs] == [record] * 3
    assert manifest.tenants == {tenant: "acme"}
    leaves = {job.ticket: leaf(manifest.domain, job) for job in jobs}
    assert seal_batch(leaves).root == root
    assert dict(await _rows(relayer_db, "SELECT ticket, leaf FROM batch_leaves")) == leaves  # type: ignore[arg-type]  # rows of two columns


async def test_without_a_manifest_there_is_no_batch(
    make_batcher: MakeBatcher,
    insert_finished: InsertFinished,
    blobs: LocalBlobStore,
    relayer_db: Database,
    epoch: int,
) -> None:
    class FullStore(LocalBlobStore):
        async def put_named(self, space: str, name: str, data: bytes) -> None:
            assert await _rows(relayer_db, "SELECT 1 FROM batches") == []
            raise OSError("no space left")

    await insert_finished(range(2))
    with pytest.raises(OSError, match="no space"):
        await make_batcher(max_jobs=2, store=FullStore(blobs.path(bytes(32)).parents[2])).run_pass(epoch)
    assert await _rows(relayer_db, "SELECT DISTINCT state FROM jobs") == [("completed",)]
    assert await _rows(relayer_db, "SELECT 1 FROM batches") == []
    assert await make_batcher(max_jobs=2).run_pass(epoch) == 2


async def test_two_batchers_seal_each_job_once(
    make_batcher: MakeBatcher, insert_finished: InsertFinished, relayer_db: Database, epoch: int
) -> None:
    await insert_finished(range(0, 4_000, 100))
    one, other = make_batcher(max_jobs=10), make_batcher(max_jobs=10)
    sealed = 0
    while found := await asyncio.gather(one.run_pass(epoch), other.run_pass(epoch)):
        sealed += sum(found)
        if not any(found):
            break
    assert sealed == 40
    assert await _rows(relayer_db, "SELECT count(*), count(DISTINCT ticket) FROM batch_leaves") == [(40, 40)]
    assert await _rows(relayer_db, "SELECT sum(leaf_count) FROM batches") == [(40,)]
    assert await _rows(
        relayer_db,
        "SELECT count(*) FROM jobs j JOIN batch_leaves l ON (l.batch_id, l.ticket) = (j.batch_id, j.ticket)",
    ) == [(40,)]


async def test_an_old_leader_seals_nothing(
    make_batcher: MakeBatcher, insert_finished: InsertFinished, relayer_db: Database, epoch: int
) -> None:
    await insert_finished([0])
    with pytest.raises(LeaseLostError):
        await make_batcher(max_jobs=1).run_pass(epoch + 1)
    assert await _rows(relayer_db, "SELECT 1 FROM batches") == []
