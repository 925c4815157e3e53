"""What nobody owns goes, what somebody owns stays, whoever dies or comes at the same time."""

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest
from dying import DATA
from support import dying

from relayer.jobs.blob_collector import LEASE, BlobCollector
from relayer.jobs.blob_service import BlobService
from relayer.jobs.errors import BlobNotFoundError
from relayer.jobs.execution import Execution, Result, _OutputsGoneError
from relayer.jobs.records import OpenAttempt
from relayer.jobs.transition import JobOutput
from relayer.local.postgres import EmbeddedPostgres
from relayer.model.clock import utc_now
from relayer.model.errors import UnavailableError
from relayer.settings import JanitorSettings
from relayer.store import leases
from relayer.store.blobs import SMALL_BYTES, LocalBlobStore
from relayer.store.database import Database

LARGE = SMALL_BYTES + 1
OLD = timedelta(hours=2)
Pass = Callable[..., Awaitable[int]]


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobStore:
    """A store of its own, whose files can be counted."""
    return LocalBlobStore(tmp_path)


@pytest.fixture
def uploads(api_db: Database, blobs: LocalBlobStore) -> BlobService:
    return BlobService(api_db, blobs, utc_now)


@pytest.fixture
def run_pass(relayer_db: Database, blobs: LocalBlobStore) -> Pass:
    async def run(grace: timedelta = timedelta(0), store: LocalBlobStore = blobs) -> int:
        return await BlobCollector(relayer_db, store, JanitorSettings(grace=grace), utc_now).run_pass(
            await lead(relayer_db)
        )

    return run


async def lead(db: Database) -> int:
    async with db.transaction() as conn:
        epoch = await leases.acquire(conn, LEASE, "test", timedelta(minutes=1))
    if epoch is None:
        async with db.transaction() as conn:
            await conn.execute("UPDATE leases SET expires_at = '-infinity'")
        return await lead(db)
    return epoch


async def upload(service: BlobService, tenant: UUID, data: bytes) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    return (await service.upload(tenant, chunks(), "text/plain", None, 1 << 30)).hash


async def dropped(service: BlobService, tenant: UUID, data: bytes) -> bytes:
    blob_hash = await upload(service, tenant, data)
    await service.delete(tenant, blob_hash)
    return blob_hash


async def content(service: BlobService, tenant: UUID, blob_hash: bytes) -> bytes:
    found = await service.find(tenant, blob_hash)
    assert found is not None
    return b"".join([chunk async for chunk in service.chunks(found)])


async def rows(db: Database) -> set[bytes]:
    async with db.transaction() as conn:
        return {row[0] for row in await (await conn.execute("SELECT hash FROM blobs")).fetchall()}


async def owned_are_whole(db: Database, store: LocalBlobStore) -> None:
    async with db.transaction() as conn:
        cursor = await conn.execute("SELECT DISTINCT hash, content FROM blob_owners JOIN blobs USING (hash)")
        for blob_hash, kept in await cursor.fetchall():
            data = kept if kept is not None else store.path(blob_hash).read_bytes()
            assert hashlib.sha256(data).digest() == blob_hash


async def grow_old(db: Database, store: LocalBlobStore) -> None:
    """Let marks and files be two hours old."""
    async with db.transaction() as conn:
        await conn.execute("UPDATE blobs SET unowned_since = unowned_since - %s::interval", [OLD])
    for path in files(store):
        os.utime(path, times=(time.time() - OLD.total_seconds(),) * 2)


def files(store: LocalBlobStore) -> list[Path]:
    return [path for path in store.path(bytes(32)).parents[1].rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [0, 1, LARGE])
async def test_what_nobody_owns_goes_after_the_grace(
    uploads: BlobService,
    tenants: list[UUID],
    run_pass: Pass,
    owner_db: Database,
    blobs: LocalBlobStore,
    size: int,
) -> None:
    kept = await upload(uploads, tenants[0], b"k" * LARGE)
    gone = await dropped(uploads, tenants[0], b"g" * size)
    hour = timedelta(hours=1)
    assert await run_pass(hour) == 0
    assert await rows(owner_db) == {kept, gone}
    await grow_old(owner_db, blobs)
    assert await run_pass(hour) == 1
    assert await run_pass(hour) == 0
    assert await rows(owner_db) == {kept}
    assert files(blobs) == [blobs.path(kept)]


async def test_a_blob_that_is_owned_again_stays(
    uploads: BlobService, tenants: list[UUID], run_pass: Pass, owner_db: Database, blobs: LocalBlobStore
) -> None:
    for size in (1, LARGE):
        data = b"x" * size
        blob_hash = await dropped(uploads, tenants[0], data)
        await grow_old(owner_db, blobs)
        await upload(uploads, tenants[1], data)
        assert await run_pass() == 0
        assert await content(uploads, tenants[1], blob_hash) == data


async def test_a_backlog_goes_in_groups(
    uploads: BlobService, tenants: list[UUID], run_pass: Pass, owner_db: Database, blobs: LocalBlobStore
) -> None:
    for number in range(130):
        await dropped(uploads, tenants[0], b"%d" % number * (1 if number % 2 else LARGE))
    assert [await run_pass(), await run_pass(), await run_pass()] == [100, 30, 0]
    assert await rows(owner_db) == set()
    assert files(blobs) == []


async def test_who_does_not_lead_deletes_nothing(
    uploads: BlobService, tenants: list[UUID], relayer_db: Database, owner_db: Database, blobs: LocalBlobStore
) -> None:
    gone = await dropped(uploads, tenants[0], b"x" * LARGE)
    epoch = await lead(relayer_db)
    with pytest.raises(leases.LeaseLostError):
        await BlobCollector(relayer_db, blobs, JanitorSettings(), utc_now).run_pass(epoch + 1)
    assert await rows(owner_db) == {gone}
    assert files(blobs) == [blobs.path(gone)]


async def test_strays_go_a_folder_a_pass_and_only_when_they_are_old(
    uploads: BlobService, tenants: list[UUID], relayer_db: Database, owner_db: Database, blobs: LocalBlobStore
) -> None:
    kept = await upload(uploads, tenants[0], b"x" * LARGE)
    # A small blob whose bytes lie in its row needs no file.
    small = await upload(uploads, tenants[0], b"small")
    strays = [bytes([first]) + bytes(31) for first in range(0, 256, 5)]
    old = time.time() - timedelta(days=1, minutes=1).total_seconds()
    incoming = blobs.path(bytes(32)).parents[2] / "incoming"
    for path in [incoming / "half", *map(blobs.path, [kept, small, *strays])]:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path != blobs.path(kept):
            path.write_bytes(b"stray")
        os.utime(path, times=(old, old))
    young = blobs.path(bytes([5, 1]) + bytes(30))
    foreign = blobs.path(bytes([5])).with_name("README")
    for path in (young, foreign, incoming / "coming"):
        path.write_bytes(b"young")
    os.utime(foreign, times=(old, old))
    collector = BlobCollector(relayer_db, blobs, JanitorSettings(), utc_now)
    before = len(files(blobs))
    for _ in range(256):
        assert await collector.run_pass(await lead(relayer_db)) == 0
        assert before - len(files(blobs)) <= 2
        before = len(files(blobs))
    assert set(files(blobs)) == {blobs.path(kept), young, foreign}
    assert [path.name for path in incoming.iterdir()] == ["coming"]
    assert await content(uploads, tenants[0], kept) == b"x" * LARGE
    assert await rows(owner_db) == {kept, small}


async def test_uploads_and_deletes_race_with_two_collectors(
    uploads: BlobService, tenants: list[UUID], relayer_db: Database, owner_db: Database, blobs: LocalBlobStore
) -> None:
    """Without any grace, so that files go the moment they may."""
    epoch = await lead(relayer_db)
    ended = asyncio.Event()
    collected = 0

    async def collect() -> None:
        nonlocal collected
        collector = BlobCollector(relayer_db, blobs, JanitorSettings(grace=timedelta(0)), utc_now)
        while not ended.is_set():
            collected += await collector.run_pass(epoch)

    async def churn(tenant: UUID, data: bytes) -> None:
        rounds = 0
        # How often the collectors come to see a blob between two owners is chance: the race goes on until they have.
        while rounds < 60 or collected <= 20:
            blob_hash = await upload(uploads, tenant, data)
            assert await content(uploads, tenant, blob_hash) == data
            await asyncio.sleep(0)
            assert await content(uploads, tenant, blob_hash) == data
            await uploads.delete(tenant, blob_hash)
            rounds += 1

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        collectors = [group.create_task(collect()) for _ in range(2)]
        datas = (b"a" * LARGE, b"b" * (1 << 20), b"c")
        await asyncio.gather(*(churn(tenant, data) for tenant in tenants for data in datas))
        last = [await upload(uploads, tenant, datas[0]) for tenant in tenants]
        ended.set()
        await asyncio.gather(*collectors)
    assert collected > 20
    await owned_are_whole(owner_db, blobs)
    for tenant, blob_hash in zip(tenants, last, strict=True):
        assert await content(uploads, tenant, blob_hash) == datas[0]


async def test_outputs_race_with_the_collector(
    uploads: BlobService, tenants: list[UUID], relayer_db: Database, owner_db: Database, blobs: LocalBlobStore
) -> None:
    """An output is owned with its file in place, or not at all."""
    execution = Execution(relayer_db, "test", timedelta(minutes=1), utc_now, blobs)
    epoch = await lead(relayer_db)
    ended = asyncio.Event()
    gone = 0

    async def collect() -> None:
        collector = BlobCollector(relayer_db, blobs, JanitorSettings(grace=timedelta(0)), utc_now)
        while not ended.is_set():
            await collector.run_pass(epoch)

    async def finish(tenant: UUID, data: bytes) -> None:
        nonlocal gone

        async def chunks() -> AsyncIterator[bytes]:
            yield data

        for _ in range(80):
            stored = await blobs.put(chunks(), 1 << 30)
            await asyncio.sleep(0.002)
            output = JobOutput(stored.hash, stored.size, "text/plain", stored.content)
            attempt = cast("OpenAttempt", SimpleNamespace(tenant_id=tenant))
            try:
                async with relayer_db.transaction() as conn:
                    await execution._own_outputs(conn, [Result(attempt, output)], utc_now())
            except _OutputsGoneError:
                gone += 1
                continue
            assert await content(uploads, tenant, stored.hash) == data
            try:
                await uploads.delete(tenant, stored.hash)
            except BlobNotFoundError:
                continue

    async with asyncio.TaskGroup() as group:
        collector = group.create_task(collect())
        await asyncio.gather(*(finish(tenant, b"o" * LARGE) for tenant in tenants))
        ended.set()
        await collector
    assert gone > 0
    await owned_are_whole(owner_db, blobs)


async def test_a_collector_that_lost_its_session_takes_nothing_from_the_next_owner(
    uploads: BlobService,
    tenants: list[UUID],
    relayer_db: Database,
    owner_db: Database,
    blobs: LocalBlobStore,
    postgres_server: EmbeddedPostgres,
) -> None:
    """It slept between its lock and the files, its session was ended, and somebody uploaded the same bytes."""
    data = b"x" * LARGE

    class SleepyStore(LocalBlobStore):
        async def delete(self, hashes: Sequence[bytes], written_before: datetime) -> None:
            with psycopg.connect(postgres_server.admin_dsn) as admin:
                ended = admin.execute(
                    """SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
                       WHERE usename = 'jobseal_relayer' AND state = 'idle in transaction'"""
                ).fetchall()
            assert ended == [(True,)]
            await upload(uploads, tenants[1], data)
            await super().delete(hashes, written_before)

    blob_hash = await dropped(uploads, tenants[0], data)
    await grow_old(owner_db, blobs)
    epoch = await lead(relayer_db)
    store = SleepyStore(blobs.path(bytes(32)).parents[2])
    collector = BlobCollector(relayer_db, store, JanitorSettings(), utc_now)
    with pytest.raises(UnavailableError):
        await collector.run_pass(epoch)
    assert await content(uploads, tenants[1], blob_hash) == data


@pytest.mark.campaign
async def test_a_collector_may_be_killed_at_every_line(
    uploads: BlobService,
    tenants: list[UUID],
    run_pass: Pass,
    urls: Any,
    owner_db: Database,
    blobs: LocalBlobStore,
) -> None:
    folder = blobs.path(bytes(32)).parents[2]
    large = [bytes([number]) * LARGE for number in range(3)]
    killed = half = 0
    with dying("collect", urls.relayer, str(folder)) as run:
        while True:
            kept = await upload(uploads, tenants[1], b"kept" * LARGE)
            hashes = [await dropped(uploads, tenants[0], data) for data in (*large, b"small")]
            async with owner_db.transaction() as conn:
                await conn.execute("UPDATE leases SET expires_at = '-infinity'")
            outcome = await asyncio.to_thread(run, killed + 1)
            await owned_are_whole(owner_db, blobs)
            missing = [one for one in hashes[:3] if not blobs.path(one).exists()]
            half += 0 < len(missing) < 3 or (len(missing) == 3 and set(hashes) <= await rows(owner_db))
            # Whatever is left, the bytes can be owned again, and the rest goes.
            again = await upload(uploads, tenants[1], large[0])
            assert await content(uploads, tenants[1], again) == large[0]
            while len(await rows(owner_db)) > 2:
                await run_pass()
            assert await rows(owner_db) == {kept, again}
            assert await content(uploads, tenants[1], again) == large[0]
            await uploads.delete(tenants[1], again)
            if outcome == "done":
                break
            assert outcome == "killed"
            killed += 1
    assert killed > 30
    # Some of the deaths lay between the first file and the commit.
    assert half > 3


@pytest.mark.campaign
async def test_an_upload_may_be_killed_at_every_line(
    uploads: BlobService,
    tenants: list[UUID],
    run_pass: Pass,
    urls: Any,
    owner_db: Database,
    blobs: LocalBlobStore,
) -> None:
    folder = blobs.path(bytes(32)).parents[2]
    blob_hash = hashlib.sha256(DATA).digest()
    killed = strays = 0
    with dying("upload", urls.api, str(folder), str(tenants[0])) as run:
        while True:
            outcome = await asyncio.to_thread(run, killed + 1)
            await owned_are_whole(owner_db, blobs)
            owned = await uploads.find(tenants[0], blob_hash) is not None
            strays += blobs.path(blob_hash).exists() and not owned
            if owned:
                assert await content(uploads, tenants[0], blob_hash) == DATA
                await uploads.delete(tenants[0], blob_hash)
            while await rows(owner_db):
                await run_pass()
            # Every death finds the same store, without the folders that an earlier one left.
            shutil.rmtree(folder / "sha256", ignore_errors=True)
            if outcome == "done":
                break
            assert outcome == "killed"
            killed += 1
    assert killed > 60
    assert strays > 3
    # What was half received goes a day later.
    assert len(list((folder / "incoming").iterdir())) > 0
    assert await blobs.sweep_incoming(datetime.now(UTC) - timedelta(days=1)) == 0
    assert await blobs.sweep_incoming(datetime.now(UTC) + timedelta(seconds=1)) > 0
    assert list((folder / "incoming").iterdir()) == []
