"""Who owns a blob, who may delete it, and how much a tenant may store, in the role of the API."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from relayer.jobs import blob_repository
from relayer.jobs.blob_service import BlobService
from relayer.jobs.errors import BlobInUseError, BlobNotFoundError, StorageFullError
from relayer.jobs.intake import Submitted
from relayer.jobs.records import Job
from relayer.jobs.service import JobService
from relayer.jobs.submission import Submission
from relayer.jobs.transition import Change, transition
from relayer.model.clock import utc_now
from relayer.model.errors import IdempotencyKeyReusedError, UnknownBlobError
from relayer.model.lifecycle import JobState
from relayer.store.blobs import SMALL_BYTES, BlobCorruptError, LocalBlobStore
from relayer.store.database import Database

SIZES = [0, 1, SMALL_BYTES, SMALL_BYTES + 1, 3_000_000]
LIMIT = 1 << 30


async def stream(data: bytes, piece: int = 60_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), piece):
        yield data[start : start + piece]


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobStore:
    """A store of its own, whose files can be counted."""
    return LocalBlobStore(tmp_path)


@pytest.fixture
def service_of_blobs(api_db: Database, blobs: LocalBlobStore) -> BlobService:
    return BlobService(api_db, blobs, utc_now)


async def upload(
    service: BlobService, tenant: UUID, data: bytes, key: str | None = None, announced: int | None = None
) -> bytes:
    stored = await service.upload(tenant, stream(data), "text/plain", key, LIMIT, announced=announced)
    assert (stored.hash, stored.size) == (hashlib.sha256(data).digest(), len(data))
    return stored.hash


async def content(service: BlobService, tenant: UUID, blob_hash: bytes) -> bytes:
    found = await service.find(tenant, blob_hash)
    assert found is not None
    return b"".join([chunk async for chunk in service.chunks(found)])


async def totals(owner_db: Database) -> dict[UUID, int]:
    """What is written down for each tenant, having made sure that it is the sum of what it owns."""
    async with owner_db.transaction() as conn:
        kept = await (await conn.execute("SELECT tenant_id, bytes FROM tenant_storage")).fetchall()
        summed = await (
            await conn.execute(
                """SELECT s.tenant_id, coalesce(sum(b.size), 0)::bigint FROM tenant_storage s
                   LEFT JOIN blob_owners o USING (tenant_id) LEFT JOIN blobs b USING (hash) GROUP BY 1"""
            )
        ).fetchall()
    assert dict(kept) == dict(summed)
    return dict(kept)


async def set_cap(owner_db: Database, tenant: UUID, cap: int) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET storage_cap = %s WHERE id = %s", [cap, tenant])


def files(blobs: LocalBlobStore) -> list[Path]:
    return [path for path in blobs.path(bytes(32)).parents[2].rglob("*") if path.is_file()]


async def of_blob(service: JobService, tenant: UUID, blob_hash: bytes) -> Job:
    named = {"blob": f"sha256:{blob_hash.hex()}"}
    return (await service.submit(tenant, Submission("digest", named, {}, None, bytes(32)))).job


async def move(db: Database, job: Job, *targets: JobState) -> None:
    async with db.transaction() as conn:
        source, version = job.state, job.state_version
        for target in targets:
            assert await transition(conn, [Change(job.id, version, source, target, "test")], utc_now())
            source, version = target, version + 1


@pytest.mark.parametrize("size", SIZES)
async def test_a_blob_is_read_from_its_row_or_its_file(
    service_of_blobs: BlobService, tenants: list[UUID], blobs: LocalBlobStore, owner_db: Database, size: int
) -> None:
    data = os.urandom(size)
    blob_hash = hashlib.sha256(data).digest()
    for _ in range(2):
        assert await upload(service_of_blobs, tenants[0], data) == blob_hash
        assert await content(service_of_blobs, tenants[0], blob_hash) == data
    assert await service_of_blobs.find(tenants[1], blob_hash) is None
    assert files(blobs) == ([] if size <= SMALL_BYTES else [blobs.path(blob_hash)])
    assert await totals(owner_db) == {tenants[0]: size}


@pytest.mark.parametrize("size", [1, SMALL_BYTES + 1])
async def test_an_altered_blob_is_not_given(
    service_of_blobs: BlobService, tenants: list[UUID], blobs: LocalBlobStore, owner_db: Database, size: int
) -> None:
    blob_hash = await upload(service_of_blobs, tenants[0], b"a" * size)
    if size > SMALL_BYTES:
        blobs.path(blob_hash).write_bytes(b"b" * size)
    else:
        async with owner_db.transaction() as conn:
            await conn.execute("UPDATE blobs SET content = %s", [b"b" * size])
    with pytest.raises(BlobCorruptError, match=blob_hash.hex()):
        await content(service_of_blobs, tenants[0], blob_hash)


async def test_content_of_the_wrong_size_or_too_large_is_no_row(owner_db: Database) -> None:
    for size, data in ((3, b"ab"), (4097, bytes(4097))):
        with pytest.raises(psycopg.errors.CheckViolation):
            async with owner_db.transaction() as conn:
                await conn.execute("INSERT INTO blobs VALUES (%s, %s, now(), %s)", [bytes(32), size, data])


async def test_the_api_cannot_read_content_that_its_tenant_does_not_own(
    service_of_blobs: BlobService, tenants: list[UUID], api_db: Database
) -> None:
    blob_hash = await upload(service_of_blobs, tenants[0], b"secret")
    for statement in (
        b"SELECT content FROM blobs",
        b"SELECT b FROM blobs b",
        b"UPDATE blobs SET unowned_since = now() RETURNING content",
        b"DELETE FROM blobs",
        b"UPDATE tenant_storage SET bytes = 0",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with api_db.transaction(tenants[1]) as conn:
                await conn.execute(statement)
    async with api_db.transaction(tenants[1]) as conn:
        assert await blob_repository.owned_blob(conn, blob_hash) is None
        for table in (b"blob_owners", b"blob_uses", b"tenant_storage"):
            assert await (await conn.execute(b"SELECT * FROM " + table)).fetchall() == []
    async with api_db.transaction() as conn:
        assert await blob_repository.owned_blob(conn, blob_hash) is None
    async with api_db.transaction(tenants[0]) as conn:
        owned = await blob_repository.owned_blob(conn, blob_hash)
        assert owned is not None
        assert owned.content == b"secret"


async def test_deleting_ends_ownership_and_marks_what_nobody_owns(
    service_of_blobs: BlobService, service: JobService, tenants: list[UUID], owner_db: Database
) -> None:
    async def marked() -> bool:
        async with owner_db.transaction() as conn:
            row = await (await conn.execute("SELECT unowned_since IS NOT NULL FROM blobs")).fetchone()
            assert row is not None
            return bool(row[0])

    blob_hash = await upload(service_of_blobs, tenants[0], b"shared")
    await upload(service_of_blobs, tenants[1], b"shared")
    with pytest.raises(BlobNotFoundError):
        await service_of_blobs.delete(tenants[0], bytes(32))
    await service_of_blobs.delete(tenants[0], blob_hash)
    assert not await marked()
    assert await service_of_blobs.find(tenants[0], blob_hash) is None
    assert await content(service_of_blobs, tenants[1], blob_hash) == b"shared"
    with pytest.raises(BlobNotFoundError):
        await service_of_blobs.delete(tenants[0], blob_hash)
    with pytest.raises(UnknownBlobError):
        await of_blob(service, tenants[0], blob_hash)
    await service_of_blobs.delete(tenants[1], blob_hash)
    assert await marked()
    assert await totals(owner_db) == dict.fromkeys(tenants, 0)
    await upload(service_of_blobs, tenants[0], b"shared")
    assert not await marked()
    assert await totals(owner_db) == {tenants[0]: 6, tenants[1]: 0}


async def test_of_two_last_owners_who_leave_at_once_one_marks(
    service_of_blobs: BlobService, tenants: list[UUID], owner_db: Database
) -> None:
    hashes = [
        await upload(service_of_blobs, tenant, b"%d" % number) for number in range(40) for tenant in tenants
    ]
    await asyncio.gather(
        *(service_of_blobs.delete(tenants[index % 2], blob_hash) for index, blob_hash in enumerate(hashes))
    )
    async with owner_db.transaction() as conn:
        cursor = await conn.execute("SELECT count(*), count(unowned_since) FROM blobs")
        assert await cursor.fetchone() == (40, 40)


async def test_a_blob_stays_while_a_job_that_has_not_ended_names_it(
    service_of_blobs: BlobService,
    service: JobService,
    tenants: list[UUID],
    relayer_db: Database,
    owner_db: Database,
) -> None:
    blob_hash = await upload(service_of_blobs, tenants[0], b"input")
    await upload(service_of_blobs, tenants[1], b"input")
    first, second = [await of_blob(service, tenants[0], blob_hash) for _ in range(2)]
    for job in (second, first):
        with pytest.raises(BlobInUseError) as caught:
            await service_of_blobs.delete(tenants[0], blob_hash)
        assert caught.value.job_id == job.id
        await move(relayer_db, job, JobState.PROCESSING)
        with pytest.raises(BlobInUseError):
            await service_of_blobs.delete(tenants[0], blob_hash)
        running = await service.get(tenants[0], job.id)
        assert running is not None
        await move(relayer_db, running, JobState.CANCELLED)
    # Another tenant's job keeps nothing from going.
    await of_blob(service, tenants[1], blob_hash)
    await service_of_blobs.delete(tenants[0], blob_hash)
    async with owner_db.transaction() as conn:
        assert await (await conn.execute("SELECT tenant_id FROM blob_uses")).fetchall() == [(tenants[1],)]


async def test_no_job_begins_with_a_blob_that_is_being_deleted(
    service_of_blobs: BlobService, service: JobService, tenants: list[UUID], owner_db: Database
) -> None:
    """Whoever comes first wins: either the job is made and the blob stays, or it goes and the job is refused."""
    outcomes = set()
    for number in range(60):
        blob_hash = await upload(service_of_blobs, tenants[0], b"%d" % number)

        async def submit(named: bytes = blob_hash) -> None:
            await of_blob(service, tenants[0], named)

        async def delete(named: bytes = blob_hash) -> None:
            await service_of_blobs.delete(tenants[0], named)

        both = (submit(), delete()) if number % 2 else (delete(), submit())
        ended = await asyncio.gather(*both, return_exceptions=True)
        (refused,) = [error for error in ended if error is not None]
        assert isinstance(refused, BlobInUseError | UnknownBlobError), refused
        owned = await service_of_blobs.find(tenants[0], blob_hash) is not None
        assert owned == isinstance(refused, BlobInUseError)
        outcomes.add(type(refused))
    assert outcomes == {BlobInUseError, UnknownBlobError}
    async with owner_db.transaction() as conn:
        cursor = await conn.execute(
            """SELECT count(*) FROM jobs j WHERE NOT EXISTS (SELECT FROM blob_owners o
               WHERE j.input = '{"blob":"sha256:' || encode(o.hash, 'hex') || '"}')"""
        )
        assert await cursor.fetchone() == (0,)


async def test_a_replayed_submission_uses_no_blob_twice_and_none_at_all_once_its_job_has_ended(
    service_of_blobs: BlobService,
    service: JobService,
    tenants: list[UUID],
    relayer_db: Database,
    owner_db: Database,
) -> None:
    blob_hash = await upload(service_of_blobs, tenants[0], b"input")
    submission = Submission("digest", {"blob": f"sha256:{blob_hash.hex()}"}, {}, "key", bytes(32))
    submitted = await asyncio.gather(*(service.submit(tenants[0], submission) for _ in range(10)))
    assert len({one.job.id for one in submitted}) == 1
    async with owner_db.transaction() as conn:
        rows = await (await conn.execute("SELECT tenant_id, hash, job_id FROM blob_uses")).fetchall()
    assert rows == [(tenants[0], blob_hash, submitted[0].job.id)]
    await move(relayer_db, submitted[0].job, JobState.CANCELLED)
    await service_of_blobs.delete(tenants[0], blob_hash)
    again = await service.submit(tenants[0], submission)
    assert (again.job.id, again.replayed) == (submitted[0].job.id, True)
    for other in (replace(submission, idempotency_key="other"), replace(submission, idempotency_key=None)):
        with pytest.raises(UnknownBlobError):
            await service.submit(tenants[0], other)
    outcomes = await service.submit_many(
        tenants[0], [submission, replace(submission, idempotency_key="third")]
    )
    assert [type(one) for one in outcomes] == [Submitted, UnknownBlobError]


@pytest.mark.parametrize("size", [1000, 10_000])
async def test_twenty_uploads_at_once_fill_a_storage_exactly(
    service_of_blobs: BlobService, tenants: list[UUID], blobs: LocalBlobStore, owner_db: Database, size: int
) -> None:
    await set_cap(owner_db, tenants[0], 7 * size + size // 2)
    ended = await asyncio.gather(
        *(upload(service_of_blobs, tenants[0], os.urandom(size)) for _ in range(20)), return_exceptions=True
    )
    stored = [one for one in ended if isinstance(one, bytes)]
    refused = [one for one in ended if not isinstance(one, bytes)]
    assert all(isinstance(one, StorageFullError) for one in refused), refused
    assert (len(stored), len(refused)) == (7, 13)
    assert await totals(owner_db) == {tenants[0]: 7 * size}
    assert len(files(blobs)) == (7 if size > SMALL_BYTES else 0)
    async with owner_db.transaction() as conn:
        assert await (await conn.execute("SELECT count(*) FROM blobs")).fetchone() == (7,)
    # Others are not concerned, and room that is made can be used.
    await upload(service_of_blobs, tenants[1], os.urandom(size))
    await service_of_blobs.delete(tenants[0], stored[0])
    await upload(service_of_blobs, tenants[0], os.urandom(size))


async def test_what_does_not_fit_is_refused_unread_where_its_size_is_told(
    service_of_blobs: BlobService, tenants: list[UUID], blobs: LocalBlobStore, owner_db: Database
) -> None:
    await set_cap(owner_db, tenants[0], 10_000)
    await upload(service_of_blobs, tenants[0], bytes(6000), "six")
    read = []

    async def watched() -> AsyncIterator[bytes]:
        for _ in range(5):
            read.append(1000)
            yield os.urandom(1000)

    with pytest.raises(StorageFullError, match="6000 of 10000 bytes") as caught:
        await service_of_blobs.upload(tenants[0], watched(), "text/plain", None, LIMIT, announced=5000)
    assert (caught.value.used, caught.value.cap, read) == (6000, 10_000, [])
    with pytest.raises(StorageFullError):
        await service_of_blobs.upload(tenants[0], watched(), "text/plain", None, LIMIT)
    assert len(read) == 5
    # A lie about the size gains nothing.
    with pytest.raises(StorageFullError):
        await service_of_blobs.upload(tenants[0], watched(), "text/plain", None, LIMIT, announced=1)
    assert files(blobs) == [blobs.path(hashlib.sha256(bytes(6000)).digest())]
    assert await totals(owner_db) == {tenants[0]: 6000}


async def test_a_repeated_upload_is_heard_out_by_a_full_storage(
    service_of_blobs: BlobService, tenants: list[UUID], owner_db: Database
) -> None:
    await set_cap(owner_db, tenants[0], 6000)
    for _ in range(2):
        await upload(service_of_blobs, tenants[0], bytes(6000), "key", announced=6000)
    with pytest.raises(IdempotencyKeyReusedError):
        await upload(service_of_blobs, tenants[0], b"x" * 6000, "key", announced=6000)
    with pytest.raises(StorageFullError):
        await upload(service_of_blobs, tenants[0], b"x" * 6000, "other", announced=6000)
    await upload(service_of_blobs, tenants[0], b"", "empty", announced=0)
    assert await totals(owner_db) == {tenants[0]: 6000}


async def test_totals_stay_exact_whatever_happens_at_once(
    service_of_blobs: BlobService, tenants: list[UUID], owner_db: Database
) -> None:
    datas = [os.urandom(size) for size in (10, 20, 5000)]

    async def churn(tenant: UUID, data: bytes) -> None:
        for _ in range(10):
            blob_hash = await upload(service_of_blobs, tenant, data)
            try:
                await service_of_blobs.delete(tenant, blob_hash)
            except BlobNotFoundError:
                continue

    await asyncio.gather(*(churn(tenant, data) for tenant in tenants for data in datas for _ in range(2)))
    assert await totals(owner_db) == dict.fromkeys(tenants, 0)
    async with owner_db.transaction() as conn:
        cursor = await conn.execute("SELECT count(*), count(unowned_since) FROM blobs")
        assert await cursor.fetchone() == (3, 3)
