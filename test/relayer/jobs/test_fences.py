"""A loop that has lost its lease without knowing it writes nothing and pushes nothing, whatever waits for it."""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from pydantic import SecretStr
from support import Platform, Time

from relayer.jobs import blob_collector, canceller, dispatcher, reaper, redriver
from relayer.jobs.blob_collector import BlobCollector
from relayer.jobs.blob_service import BlobService
from relayer.jobs.canceller import Canceller
from relayer.jobs.dead_letter_repository import DeadLetterFilter
from relayer.jobs.dead_letters import DeadLetterService
from relayer.jobs.dispatcher import Dispatcher
from relayer.jobs.execution import Execution, Result
from relayer.jobs.failure import Failure
from relayer.jobs.handlers.base import Mode
from relayer.jobs.queue import JobQueue
from relayer.jobs.reaper import Reaper
from relayer.jobs.records import OpenAttempt
from relayer.jobs.redriver import Redriver
from relayer.model.clock import utc_now
from relayer.settings import JanitorSettings, ReaperSettings, RedisSettings
from relayer.store import leases
from relayer.store.blobs import SMALL_BYTES, LocalBlobStore
from relayer.store.database import Database

NO_TIME = timedelta(0)
Run = Callable[[int], Awaitable[int]]
Meanwhile = Callable[[], Awaitable[None]]


class Queue(JobQueue):
    """The queue; what it is told stands in `told`, and what is done when a look at it is asked, in `meanwhile`."""

    def __init__(self, settings: RedisSettings) -> None:
        super().__init__(settings)
        self.told: list[object] = []
        self.meanwhile: Meanwhile | None = None

    async def push(self, mode: Mode, parcels: Any) -> None:
        self.told.append(parcels)
        await super().push(mode, parcels)

    async def stop(self, queue_job_id: UUID) -> None:
        self.told.append(queue_job_id)
        await super().stop(queue_job_id)

    async def waiting(self, mode: Mode) -> set[UUID]:
        if self.meanwhile is not None:
            await self.meanwhile()
        return await super().waiting(mode)


class Store(LocalBlobStore):
    """A store, and what is done when it is asked to clear its half-received files."""

    meanwhile: Meanwhile | None = None

    async def sweep_incoming(self, before: datetime) -> int:
        if self.meanwhile is not None:
            await self.meanwhile()
        return await super().sweep_incoming(before)


@dataclass
class Stage:
    """Where a loop has work to do."""

    platform: Platform
    tenant: UUID
    api_db: Database
    relayer_db: Database
    owner_db: Database
    queue: Queue
    blobs: Store
    folder: Path
    tables: list[str]
    redis_url: str
    clock: Time

    async def lead(self, name: str, owner: str) -> int:
        """Take a loop's lease from whoever has it."""
        async with self.relayer_db.transaction() as conn:
            await conn.execute("UPDATE leases SET expires_at = '-infinity' WHERE name = %s", [name])
            epoch = await leases.acquire(conn, name, owner, timedelta(minutes=1))
        assert epoch is not None
        return epoch

    async def content(self) -> dict[str, Any]:
        """Give all that the stores hold, but for who leads."""
        found: dict[str, Any] = {}
        async with self.owner_db.transaction() as conn:
            for table in self.tables:
                if table != "leases":
                    cursor = await conn.execute(f"SELECT t::text FROM {table} t ORDER BY 1".encode())  # noqa: S608
                    found[table] = await cursor.fetchall()
        with redis.Redis.from_url(self.redis_url) as client:
            found["queue"] = {key: client.dump(key) for key in client.scan_iter()}
        found["files"] = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return found

    async def submit(self, kind: str = "digest", **options: Any) -> UUID:
        value = {"text": "a"} if kind == "digest" else {"seconds": 0.0}
        return (await self.platform.submit(self.tenant, kind, value, **options)).id

    async def open(self, lease: timedelta) -> list[OpenAttempt]:
        """Dispatch what waits, and open it in the name of a worker."""
        await self.platform.dispatch()
        rows = await self.platform.rows("SELECT id FROM attempts WHERE state = 'dispatched'")
        return await self.execution(lease).open([row[0] for row in rows])

    def execution(self, lease: timedelta = NO_TIME) -> Execution:
        return Execution(self.relayer_db, "worker", lease, utc_now, self.blobs)

    def dispatcher(self) -> Dispatcher:
        platform = self.platform
        return Dispatcher(self.relayer_db, self.queue, platform.handlers, platform.settings, self.clock)


@pytest.fixture
async def stage(
    platform: Platform,
    tenants: list[UUID],
    api_db: Database,
    relayer_db: Database,
    owner_db: Database,
    tables: list[str],
    valkey_url: str,
    tmp_path: Path,
) -> Stage:
    queue = Queue(RedisSettings(url=SecretStr(valkey_url)))
    return Stage(
        replace(platform, queue=queue),
        tenants[0],
        api_db,
        relayer_db,
        owner_db,
        queue,
        Store(tmp_path),
        tmp_path,
        tables,
        valkey_url,
        Time(),
    )


async def sweep_of_queues(stage: Stage) -> Run:
    """A job waits whose queue no row tells of."""
    await stage.submit()
    async with stage.owner_db.transaction() as conn:
        await conn.execute("DELETE FROM active_queues")
    return stage.dispatcher().run_pass


async def notes_of_holds(stage: Stage) -> Run:
    """A queue is held for want of workers, and another one idle; the minute's sweep is not due."""
    one = stage.dispatcher()
    await one.run_pass(await stage.lead(dispatcher.LEASE, "before"))
    await stage.submit()
    async with stage.owner_db.transaction() as conn:
        await conn.execute(
            "INSERT INTO active_queues VALUES (%s, 'test.nap', 1, now() - interval '1 h', 2)", [stage.tenant]
        )
    stage.clock.ahead = timedelta(seconds=2)
    return one.run_pass


async def lost_pushes(stage: Stage) -> Run:
    """A push was lost, and the lease goes while the queue is looked at."""
    one = stage.dispatcher()
    epoch = await stage.lead(dispatcher.LEASE, "before")
    await stage.submit()
    await stage.submit("test.sleep")
    await one.run_pass(epoch)
    stage.clock.ahead = timedelta(seconds=2)
    await one.run_pass(epoch)
    with redis.Redis.from_url(stage.redis_url) as client:
        client.flushall()
    stage.clock.ahead = timedelta(minutes=0.5)
    stage.queue.meanwhile = lambda: hand_over(stage, dispatcher.LEASE)
    return one.run_pass


async def jobs_of_a_new_tenant(stage: Stage) -> Run:
    """Jobs of both modes wait, and their tenant is not in the ring yet; nothing else is due."""
    one = stage.dispatcher()
    await one.run_pass(await stage.lead(dispatcher.LEASE, "before"))
    await stage.submit()
    await stage.submit("test.sleep")
    assert (await stage.content())["turns"] == []
    return one.run_pass


async def silent_workers(stage: Stage) -> Run:
    """An attempt has lost its worker, and a job in the queue has waited too long."""
    await stage.submit()
    assert len(await stage.open(NO_TIME)) == 1
    await stage.submit(queue_limit=timedelta(hours=1))
    assert await stage.platform.dispatch() == 1
    await stage.platform.rows("UPDATE jobs SET expires_at = now() WHERE state = 'created' RETURNING id")
    return Reaper(stage.relayer_db, ReaperSettings(), utc_now).run_pass


async def cancellations(stage: Stage) -> Run:
    """A job that waits, one in the queue and two that run are to be cancelled."""
    jobs = [await stage.submit(), await stage.submit("test.sleep")]
    assert len(await stage.open(timedelta(minutes=1))) == 2
    jobs.append(await stage.submit())
    await stage.platform.dispatch()
    jobs.append(await stage.submit())
    for job in jobs:
        await stage.platform.service.cancel(stage.tenant, job)
    settings = ReaperSettings(force_cancel_after=NO_TIME)
    return Canceller(stage.relayer_db, stage.queue, settings, utc_now).run_pass


async def dead_letters(stage: Stage) -> Run:
    """A redrive is asked for."""
    await stage.submit()
    (attempt,) = await stage.open(timedelta(minutes=1))
    await stage.execution().finish([Result(attempt, Failure("bad", "it is", retryable=False))])
    await DeadLetterService(stage.api_db, utc_now).redrive(
        DeadLetterFilter(stage.tenant), actor="test", rate=1, idempotency_key=None, fingerprint=bytes(32)
    )
    return Redriver(stage.relayer_db, utc_now).run_pass


async def unowned_blobs(stage: Stage) -> Run:
    """A blob with a file and one without have lost their owner."""
    uploads = BlobService(stage.api_db, stage.blobs, utc_now)
    for size in (1, SMALL_BYTES + 1):

        async def chunks(size: int = size) -> AsyncIterator[bytes]:
            yield b"x" * size

        stored = await uploads.upload(stage.tenant, chunks(), "text/plain", None, 1 << 30)
        await uploads.delete(stage.tenant, stored.hash)
    settings = JanitorSettings(grace=NO_TIME)
    return BlobCollector(stage.relayer_db, stage.blobs, settings, utc_now).run_pass


async def stray_files(stage: Stage) -> Run:
    """There is an old file that no row speaks of, and the lease goes after the look for unowned blobs."""
    collector = BlobCollector(stage.relayer_db, stage.blobs, JanitorSettings(), utc_now)
    stray = stage.blobs.path(bytes([collector._prefix]) + bytes(31))
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"stray")
    os.utime(stray, times=(time.time() - timedelta(days=2).total_seconds(),) * 2)
    stage.blobs.meanwhile = lambda: hand_over(stage, blob_collector.LEASE)
    return collector.run_pass


async def hand_over(stage: Stage, name: str) -> None:
    """Let another process lead, once."""
    stage.queue.meanwhile = stage.blobs.meanwhile = None
    await stage.lead(name, "new")


@pytest.mark.parametrize(
    ("name", "prepare"),
    [
        (dispatcher.LEASE, sweep_of_queues),
        (dispatcher.LEASE, notes_of_holds),
        (dispatcher.LEASE, lost_pushes),
        (dispatcher.LEASE, jobs_of_a_new_tenant),
        (reaper.LEASE, silent_workers),
        (canceller.LEASE, cancellations),
        (redriver.LEASE, dead_letters),
        (blob_collector.LEASE, unowned_blobs),
        (blob_collector.LEASE, stray_files),
    ],
    ids=lambda value: None if isinstance(value, str) else value.__name__,
)
async def test_a_stale_leader_writes_nothing(
    stage: Stage, name: str, prepare: Callable[[Stage], Awaitable[Run]]
) -> None:
    run_pass = await prepare(stage)
    old = await stage.lead(name, "old")
    if stage.queue.meanwhile is None and stage.blobs.meanwhile is None:
        await hand_over(stage, name)
    before = await stage.content()
    stage.queue.told.clear()
    with pytest.raises(leases.LeaseLostError):
        await run_pass(old)
    assert await stage.content() == before
    assert stage.queue.told == []
    # There was work to do: whoever leads does it.
    new = await stage.lead(name, "new")
    assert new == old + 1
    stage.clock.ahead += timedelta(minutes=2)
    await run_pass(new)
    assert await stage.content() != before
