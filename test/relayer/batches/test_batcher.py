import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from relayer.batches import registry_state
from relayer.batches.manifest import SPACE, JobRecord, ManifestCipher
from relayer.seal.commitment import leaf
from relayer.seal.tree import MAX_WORDS, seal_batch
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database
from relayer.store.leases import LeaseLostError
from relayer.store.registries import RegistryRow

from .conftest import GWEI, KEY, MAX_AGE, NOON, HeldClock, InsertFinished, MakeBatcher


async def _rows(db: Database, statement: str) -> list[tuple[object, ...]]:
    async with db.transaction() as conn:
        return await (await conn.execute(statement)).fetchall()


async def test_nothing_is_sealed_before_its_time(
    make_batcher: MakeBatcher, insert_finished: InsertFinished, clock: HeldClock, epoch: int
) -> None:
    await insert_finished(range(3))
    batcher = make_batcher(max_jobs=4)
    # A sixteenth of the limit is kept for the sealing.
    clock.now = NOON + MAX_AGE * 15 / 16 - timedelta(microseconds=1)
    assert await batcher.run_pass(epoch) == 0
    clock.now = NOON + MAX_AGE * 15 / 16
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


async def test_nothing_of_a_frozen_registry_is_sealed(
    make_batcher: MakeBatcher,
    insert_finished: InsertFinished,
    registry_row: RegistryRow,
    relayer_db: Database,
    owner_db: Database,
    epoch: int,
) -> None:
    await insert_finished(range(2))
    async with relayer_db.transaction() as conn:
        await registry_state.freeze(conn, registry_row.id, "a root is gone")
    assert await make_batcher(max_jobs=2).run_pass(epoch) == 0
    async with owner_db.transaction() as conn:
        await registry_state.thaw(conn, registry_row.id)
    assert await make_batcher(max_jobs=2).run_pass(epoch) == 2


async def test_cheap_gas_seals_sooner_unless_a_batch_waits_already(
    make_batcher: MakeBatcher,
    insert_finished: InsertFinished,
    owner_db: Database,
    clock: HeldClock,
    epoch: int,
) -> None:
    # A complete word of 256 jobs that waited 10 s: 2,560 gwei, of which 58,000 gas are worth one at 0.04.
    await insert_finished(range(256))
    clock.now = NOON + timedelta(seconds=10)
    assert await make_batcher(gas_price=GWEI // 20).run_pass(epoch) == 0
    cheap = make_batcher(gas_price=GWEI // 25)
    assert await cheap.run_pass(epoch) == 256
    await insert_finished(range(256, 512))
    assert await cheap.run_pass(epoch) == 0
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE batches SET state = 'sending'")
    assert await cheap.run_pass(epoch) == 256


async def test_a_thin_word_waits_for_jobs_that_still_run(
    make_batcher: MakeBatcher,
    insert_finished: InsertFinished,
    owner_db: Database,
    relayer_db: Database,
    clock: HeldClock,
    epoch: int,
) -> None:
    await insert_finished([*range(256), *range(512, 516)])
    async with owner_db.transaction() as conn:
        # Of word 2 some are given out and run; of word 4 all have ended, the last of it too.
        await conn.execute("UPDATE jobs SET state = 'processing' WHERE ticket = 515")
    await insert_finished([1024, 1279])
    clock.now = NOON + timedelta(seconds=10)
    assert await make_batcher(gas_price=GWEI // 25).run_pass(epoch) == 258
    words = await _rows(relayer_db, "SELECT index FROM batch_words ORDER BY index")
    assert words == [(0,), (4,)]
    # They have waited for long enough.
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE batches SET state = 'sending'")
    clock.now = NOON + MAX_AGE
    assert await make_batcher(gas_price=GWEI // 25).run_pass(epoch) == 3


async def test_run_times_are_learnt_from_what_is_sealed(
    make_batcher: MakeBatcher,
    insert_finished: InsertFinished,
    relayer_db: Database,
    owner_db: Database,
    epoch: int,
) -> None:
    async def seal(tickets: range, seconds: int) -> None:
        await insert_finished(tickets)
        async with owner_db.transaction() as conn:
            await conn.execute(
                """INSERT INTO attempts (id, job_id, tenant_id, kind, priority, number, mode, state, dispatched_at,
                                         pushed_at, started_at, finished_at)
                   SELECT gen_random_uuid(), id, tenant_id, kind, priority, 1, 'inline', 'succeeded', created_at,
                          created_at, created_at, created_at + make_interval(secs => %s)
                   FROM jobs WHERE state = 'completed'""",
                [seconds],
            )
        assert await make_batcher(max_jobs=len(tickets)).run_pass(epoch) == len(tickets)

    await seal(range(100), 30)
    assert await _rows(relayer_db, "SELECT kind, seconds, jobs FROM run_times") == [("digest", 30.0, 100)]
    await seal(range(256, 356), 60)
    assert await _rows(relayer_db, "SELECT kind, seconds, jobs FROM run_times") == [("digest", 45.0, 200)]


async def test_released_jobs_make_the_batch_they_were(
    make_batcher: MakeBatcher, insert_finished: InsertFinished, owner_db: Database, epoch: int
) -> None:
    await insert_finished(range(2))
    batcher = make_batcher(max_jobs=2)
    assert await batcher.run_pass(epoch) == 2
    before = await _rows(owner_db, "SELECT id, root FROM batches")
    async with owner_db.transaction() as conn:
        await conn.execute(
            "UPDATE batches SET state = 'released', released_number = 1, released_hash = root, "
            "released_block_time = sealed_at"
        )
        await conn.execute(
            "UPDATE jobs SET state = 'completed', batch_id = NULL, state_version = state_version + 1"
        )
    assert await batcher.run_pass(epoch) == 2
    assert await _rows(owner_db, "SELECT id, root FROM batches") == before
    assert await _rows(owner_db, "SELECT DISTINCT state FROM batches") == [("sealed",)]
    assert await _rows(owner_db, "SELECT count(*) FROM batch_leaves") == [(2,)]


async def test_a_job_that_moved_meanwhile_leaves_no_batch(
    make_batcher: MakeBatcher,
    insert_finished: InsertFinished,
    blobs: LocalBlobStore,
    owner_db: Database,
    epoch: int,
) -> None:
    class Interrupted(LocalBlobStore):
        async def put_named(self, space: str, name: str, data: bytes) -> None:
            async with owner_db.transaction() as conn:
                await conn.execute("UPDATE jobs SET state_version = state_version + 1 WHERE ticket = 1")

    await insert_finished(range(3))
    store = Interrupted(blobs.path(bytes(32)).parents[2])
    assert await make_batcher(max_jobs=3, store=store).run_pass(epoch) == 0
    assert await _rows(owner_db, "SELECT 1 FROM batches") == []
    assert await _rows(owner_db, "SELECT DISTINCT state FROM jobs") == [("completed",)]
    assert await make_batcher(max_jobs=3).run_pass(epoch) == 3
