"""What jobs read and make: from rows and files, within their tenant's storage, never owned without bytes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from relayer.jobs.blob_service import BlobService
from relayer.jobs.errors import OutputDeletedError
from relayer.jobs.execution import Execution, Result
from relayer.jobs.handlers.base import Mode
from relayer.jobs.handlers.registry import Handlers
from relayer.jobs.inline import InlineWorker
from relayer.jobs.job_blobs import JobBlobs
from relayer.jobs.lease_keeper import LeaseKeeper
from relayer.jobs.records import Job
from relayer.jobs.service import JobService
from relayer.jobs.submission import Submission
from relayer.jobs.transition import JobOutput
from relayer.local.postgres import EmbeddedPostgres
from relayer.model.clock import utc_now
from relayer.settings import DatabaseSettings, WorkerSettings
from relayer.store.blobs import SMALL_BYTES, LocalBlobStore
from relayer.store.database import Database

MAX_BYTES = 1 << 22


@dataclass
class Worker:
    """A worker of both modes in this process, and the service whose jobs it runs."""

    service: JobService
    db: Database
    keeper: LeaseKeeper
    handlers: Handlers
    scratch: Path
    environment: dict[str, str]

    async def submit(self, tenant: UUID, kind: str, value: Any) -> Job:
        return (await self.service.submit(tenant, Submission(kind, value, {}, None, bytes(32)))).job

    async def run(self, store: LocalBlobStore) -> None:
        """Run every waiting job once; those of a mode together."""
        execution = Execution(self.db, "test", WorkerSettings().lease, utc_now, store)
        blobs = JobBlobs(self.db, store, MAX_BYTES)
        await InlineWorker(execution, self.keeper, self.handlers, blobs).run(await self._take(Mode.INLINE))
        for attempt in await self._take(Mode.ISOLATED):
            # A horse ends every process below it, so it is one of its own.
            code = (
                "from pathlib import Path; from relayer.jobs import entry; "
                f"entry.scratch = Path({str(self.scratch)!r}); entry.run_isolated([{str(attempt)!r}])"
            )
            horse = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, env=os.environ | self.environment
            )
            assert await horse.wait() == 0

    async def ended(self, tenant: UUID, *jobs: Job) -> list[tuple[str, str | None]]:
        """State and error code of jobs."""
        seen = [await self.service.get(tenant, job.id) for job in jobs]
        return [
            (str(job.state), None if job.error is None else job.error["code"])
            for job in seen
            if job is not None
        ]

    async def output(self, tenant: UUID, job: Job) -> bytes:
        found = await self.service.output(tenant, job.id)
        assert found is not None
        data = b"".join([chunk async for chunk in found[2]])
        assert len(data) == found[1]
        return data

    async def _take(self, mode: Mode) -> list[UUID]:
        kinds = [kind for kind, handler in self.handlers.items() if handler.mode is mode]
        async with self.db.transaction() as conn:
            cursor = await conn.execute(
                """INSERT INTO attempts (id, job_id, tenant_id, number, mode, state, dispatched_at, kind, priority)
                   SELECT gen_random_uuid(), id, tenant_id,
                          1 + (SELECT count(*) FROM attempts WHERE job_id = jobs.id), %s, 'dispatched', now(),
                          kind, priority
                   FROM jobs WHERE state = 'created' AND kind = ANY(%s) ORDER BY id RETURNING id""",
                [mode.value, kinds],
            )
            return [row[0] for row in await cursor.fetchall()]


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobStore:
    """A store of its own, whose files can be counted."""
    return LocalBlobStore(tmp_path)


@pytest.fixture
def worker(
    service: JobService,
    relayer_db: Database,
    handlers: Handlers,
    blobs: LocalBlobStore,
    urls: Any,
    worker_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Worker]:
    def give_up(_: Sequence[Result]) -> None:
        raise AssertionError

    keeper = LeaseKeeper(DatabaseSettings(url=SecretStr(urls.relayer)), WorkerSettings(), give_up)
    environment = worker_environment | {"JOBSEAL_BLOBS_FOLDER": str(blobs.path(bytes(32)).parents[2])}
    yield Worker(service, relayer_db, keeper, handlers, tmp_path_factory.mktemp("scratch"), environment)
    keeper.close()


@pytest.fixture
def uploads(api_db: Database, blobs: LocalBlobStore) -> BlobService:
    return BlobService(api_db, blobs, utc_now)


async def upload(service: BlobService, tenant: UUID, data: bytes) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    return (await service.upload(tenant, chunks(), "text/plain", None, 1 << 30)).hash


def named(blob_hash: bytes) -> dict[str, str]:
    return {"blob": f"sha256:{blob_hash.hex()}"}


async def set_cap(owner_db: Database, tenant: UUID, cap: int) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET storage_cap = %s WHERE id = %s", [cap, tenant])


@pytest.mark.parametrize("kind", ["test.copy", "test.quick-copy"])
@pytest.mark.parametrize(
    "size",
    [
        pytest.param(0, marks=pytest.mark.campaign),
        1,
        pytest.param(SMALL_BYTES, marks=pytest.mark.campaign),
        SMALL_BYTES + 1,
        pytest.param(3_000_000, marks=pytest.mark.campaign),
    ],
)
async def test_jobs_read_and_make_blobs_of_any_size(
    worker: Worker, uploads: BlobService, tenants: list[UUID], blobs: LocalBlobStore, kind: str, size: int
) -> None:
    data = os.urandom(size)
    # A second blob of another size, so that nothing is read by chance.
    both = [data, data + b"more"]
    jobs = [
        await worker.submit(tenants[0], kind, named(await upload(uploads, tenants[0], one))) for one in both
    ]
    await worker.run(blobs)
    assert await worker.ended(tenants[0], *jobs) == [("completed", None)] * 2
    assert [await worker.output(tenants[0], job) for job in jobs] == both


async def test_small_outputs_touch_no_file_and_lie_in_their_rows(
    worker: Worker, tenants: list[UUID], owner_db: Database, blobs: LocalBlobStore
) -> None:
    jobs = [
        await worker.submit(tenant, "test.fill", {"size": size, "text": "é"})
        for tenant in tenants
        for size in (0, 5, SMALL_BYTES // 2, 5)
    ]
    await worker.run(blobs)
    for tenant, mine in ((tenants[0], jobs[:4]), (tenants[1], jobs[4:])):
        assert await worker.ended(tenant, *mine) == [("completed", None)] * 4
        assert await worker.output(tenant, mine[2]) == "é".encode() * (SMALL_BYTES // 2)
    assert [path for path in blobs.path(bytes(32)).parents[2].rglob("*") if path.is_file()] == []
    async with owner_db.transaction() as conn:
        cursor = await conn.execute("SELECT size, octet_length(content) FROM blobs ORDER BY size")
        assert await cursor.fetchall() == [(0, 0), (10, 10), (SMALL_BYTES, SMALL_BYTES)]
        cursor = await conn.execute("SELECT bytes FROM tenant_storage")
        assert await cursor.fetchall() == [(10 + SMALL_BYTES,)] * 2


async def test_an_output_that_is_owned_already_touches_no_row_of_others(
    worker: Worker, tenants: list[UUID], owner_db: Database, blobs: LocalBlobStore
) -> None:
    """Jobs with equal outputs must not wait for each other's commits."""
    first = await worker.submit(tenants[0], "test.fill", {"size": 3})
    await worker.run(blobs)
    second = await worker.submit(tenants[0], "test.fill", {"size": 3})
    async with owner_db.transaction() as conn:
        await conn.execute("SELECT FROM blobs, tenant_storage FOR UPDATE OF blobs, tenant_storage")
        await worker.run(blobs)
    assert await worker.ended(tenants[0], first, second) == [("completed", None)] * 2


@pytest.mark.parametrize("size", [1000, SMALL_BYTES * 2])
async def test_an_output_past_its_tenants_cap_fails_its_job_and_nobody_elses(
    worker: Worker, tenants: list[UUID], owner_db: Database, blobs: LocalBlobStore, size: int
) -> None:
    await set_cap(owner_db, tenants[0], size - 1)
    full = await worker.submit(tenants[0], "test.fill", {"size": size})
    fits = await worker.submit(tenants[0], "test.fill", {"size": size - 1})
    other = await worker.submit(tenants[1], "test.fill", {"size": size})
    await worker.run(blobs)
    assert await worker.ended(tenants[0], full, fits) == [("failed", "storage_full"), ("completed", None)]
    assert await worker.ended(tenants[1], other) == [("completed", None)]
    seen = await worker.service.get(tenants[0], full.id)
    assert seen is not None
    assert seen.error is not None
    assert (seen.error["retryable"], seen.error["attempt"]) == (False, 1)
    assert f"room for {size - 1} bytes" in seen.error["message"]
    # A new worker looks again.
    late = await worker.submit(tenants[0], "test.fill", {"size": size - 1, "text": "y"})
    await worker.run(blobs)
    assert await worker.ended(tenants[0], late) == [("failed", "storage_full")]


async def test_isolated_outputs_have_their_caps_too(
    worker: Worker, uploads: BlobService, tenants: list[UUID], owner_db: Database, blobs: LocalBlobStore
) -> None:
    large = await worker.submit(
        tenants[0], "test.copy", named(await upload(uploads, tenants[0], b"x" * 20_000))
    )
    await set_cap(owner_db, tenants[0], 25_000)
    await worker.run(blobs)
    assert await worker.ended(tenants[0], large) == [("failed", "storage_full")]
    assert list((blobs.path(bytes(32)).parents[2] / "incoming").iterdir()) == []


async def test_an_output_over_the_limit_of_all_is_told_apart(
    worker: Worker, tenants: list[UUID], blobs: LocalBlobStore
) -> None:
    job = await worker.submit(tenants[0], "test.fill", {"size": MAX_BYTES + 1})
    await worker.run(blobs)
    assert await worker.ended(tenants[0], job) == [("failed", "output_too_large")]


async def test_an_output_whose_file_went_is_made_again_and_its_neighbours_stand(
    worker: Worker, tenants: list[UUID], owner_db: Database, blobs: LocalBlobStore
) -> None:
    class LosingStore(LocalBlobStore):
        """Loses each file of 5,000 bytes before it is owned."""

        async def holds(self, blob_hash: bytes) -> bool:
            if self.path(blob_hash).stat().st_size == 5000:
                self.path(blob_hash).unlink()
            return await super().holds(blob_hash)

    lost = await worker.submit(tenants[0], "test.fill", {"size": 5000})
    large = await worker.submit(tenants[0], "test.fill", {"size": 6000})
    small = await worker.submit(tenants[1], "test.fill", {"size": 6})
    await worker.run(LosingStore(blobs.path(bytes(32)).parents[2]))
    assert await worker.ended(tenants[0], lost, large) == [("created", "output_lost"), ("completed", None)]
    assert await worker.ended(tenants[1], small) == [("completed", None)]
    async with owner_db.transaction() as conn:
        assert await (await conn.execute("SELECT size FROM blobs ORDER BY 1")).fetchall() == [(6,), (6000,)]
    await worker.run(blobs)
    assert await worker.ended(tenants[0], lost) == [("completed", None)]
    assert await worker.output(tenants[0], lost) == b"x" * 5000


@pytest.mark.parametrize("kind", ["test.copy", "test.quick-copy"])
async def test_a_job_whose_input_was_deleted_or_lost_says_so(
    worker: Worker,
    uploads: BlobService,
    tenants: list[UUID],
    owner_db: Database,
    blobs: LocalBlobStore,
    kind: str,
) -> None:
    deleted, lost = [await upload(uploads, tenants[0], text * 5000) for text in (b"d", b"l")]
    jobs = [await worker.submit(tenants[0], kind, named(one)) for one in (deleted, lost)]
    # As after a redrive of a failed job, whose blobs may have been deleted meanwhile.
    async with owner_db.transaction() as conn:
        await conn.execute("DELETE FROM blob_owners WHERE hash = %s", [deleted])
    blobs.path(lost).unlink()
    await worker.run(blobs)
    (state, code), (waits, again) = await worker.ended(tenants[0], *jobs)
    assert (state, code) == ("failed", "blob_deleted")
    assert (waits, again) == ("created", "blob_unreadable")


async def test_a_database_that_is_away_costs_no_attempt(
    uploads: BlobService,
    tenants: list[UUID],
    relayer_db: Database,
    blobs: LocalBlobStore,
    postgres_server: EmbeddedPostgres,
) -> None:
    """Before an input is read, and before the tenant's room for an output is known."""
    data = b"x" * 9000
    blob_hash = await upload(uploads, tenants[0], data)
    jobs = JobBlobs(relayer_db, blobs, MAX_BYTES)

    async def read() -> bytes:
        return b"".join([chunk async for chunk in jobs.read(tenants[0], blob_hash)])

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    postgres_server.stop()
    try:
        reading = asyncio.create_task(read())
        made = await jobs.put(tenants[0], "text/plain", chunks())
        assert made == JobOutput(blob_hash, len(data), "text/plain")
        assert not reading.done()
    finally:
        postgres_server.start()
    assert await reading == data


async def test_a_deleted_output_is_gone_and_the_job_stays(
    worker: Worker, uploads: BlobService, tenants: list[UUID], blobs: LocalBlobStore
) -> None:
    job, same = [await worker.submit(tenants[0], "test.fill", {"size": 9}) for _ in range(2)]
    await worker.run(blobs)
    seen = await worker.service.get(tenants[0], job.id)
    assert seen is not None
    assert seen.output_hash is not None
    await uploads.delete(tenants[0], seen.output_hash)
    for one in (job, same):
        with pytest.raises(OutputDeletedError):
            await worker.service.output(tenants[0], one.id)
    assert await worker.service.get(tenants[0], job.id) == seen
    await upload(uploads, tenants[0], b"x" * 9)
    assert await worker.output(tenants[0], job) == b"x" * 9
