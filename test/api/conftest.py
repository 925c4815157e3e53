import asyncio
import hashlib
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
import uvicorn
from eth_abi.abi import encode
from fastapi import FastAPI
from pydantic import SecretBytes, SecretStr

from api.app import Settings, create_app
from api.server import ProblemProtocol
from relayer.batches.batcher import NAME, Batcher
from relayer.batches.handlers import on_batch_confirmed
from relayer.chain.calls import FinalEvent
from relayer.chain.registry import BATCH_CONFIRMED_TOPIC
from relayer.jobs import dispatch_repository
from relayer.jobs.blob_repository import MadeBlob, own_blobs
from relayer.jobs.dispatcher import LEASE as DISPATCHER_LEASE
from relayer.jobs.execution import Execution
from relayer.jobs.handlers.base import Mode
from relayer.jobs.records import NewAttempt, OpenAttempt
from relayer.jobs.redriver import LEASE as REDRIVER_LEASE
from relayer.jobs.redriver import Redriver
from relayer.jobs.transition import Change, JobOutput, transition
from relayer.model.clock import Clock, utc_now
from relayer.model.ids import from_public, new_id
from relayer.model.lifecycle import JobState
from relayer.settings import (
    AdminDatabaseSettings,
    ApiSettings,
    BatcherSettings,
    BlobSettings,
    DatabaseSettings,
    KeySettings,
    RedisSettings,
    RegistrySettings,
    TokenSettings,
)
from relayer.store import leases
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database
from relayer.store.registries import RegistryRow
from relayer.tenants.key_cache import LIFETIME
from relayer.tenants.plans import PLANS, Limits
from relayer.tenants.scopes import Scope
from relayer.tenants.service import TenantService

KEYS = KeySettings(pepper=SecretBytes(b"pepper of the tests"))
ISSUER = "https://jobs.example.com"
TOKENS = TokenSettings(issuer=ISSUER, secret=SecretBytes(b"secret of the tests, 32 bytes long"))
MAX_BLOB_BYTES = 100_000
Body = dict[str, Any]
ROOM = replace(
    PLANS["standard"],
    submissions_per_minute=1_000_000,
    submissions_burst=100_000,
    reads_per_minute=1_000_000,
    reads_burst=100_000,
)


# Where nothing listens: a process then judges limits by itself.
NO_REDIS = "redis://127.0.0.1:1/0"


def settings_for(
    database_url: str, folder: Path, registry: RegistryRow, redis_url: str = NO_REDIS
) -> Settings:
    return Settings(
        ApiSettings(),
        DatabaseSettings(url=SecretStr(database_url), pool_size=4),
        RegistrySettings(chain_id=registry.chain_id, address=f"0x{registry.address.hex()}"),
        BlobSettings(folder=folder, max_bytes=MAX_BLOB_BYTES),
        KEYS,
        RedisSettings(url=SecretStr(redis_url)),
        TOKENS,
    )


@pytest.fixture(scope="session")
def offline_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """For an application that is only looked at."""
    registry = RegistryRow(1, 31337, bytes(20), 0)
    return settings_for("postgresql://nobody@localhost/nothing", tmp_path_factory.mktemp("blobs"), registry)


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a started application, without a key."""
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        yield client


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The address of an application that uvicorn serves as in production, in a thread of its own."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, http=ProblemProtocol, log_level="critical", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class Caller:
    """One tenant's use of the API."""

    def __init__(self, client: httpx2.AsyncClient, secret: str) -> None:
        self.client = client
        self.secret = secret
        self._submitted = 0

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.client.get(path, headers=self.headers(**headers))

    async def post(self, path: str, content: bytes, **headers: str) -> httpx2.Response:
        return await self.client.post(path, content=content, headers=self.headers(**headers))

    async def post_json(self, path: str, value: Any, **headers: str) -> httpx2.Response:
        return await self.post(path, json.dumps(value).encode(), content_type="application/json", **headers)

    async def pages(self, path: str) -> AsyncIterator[list[Body]]:
        """Give the items of each page of a list."""
        token = ""
        while token is not None:
            answer = await self.get(f"{path}{token}")
            assert answer.status_code == 200, answer.text
            page = answer.json()
            yield page["data"]
            following = page.get("next_page_token")
            token = following and f"{'&' if '?' in path else '?'}page_token={following}"

    async def items(self, path: str) -> list[Body]:
        return [item async for page in self.pages(path) for item in page]

    async def submit(self, content: bytes, key: str | None = None) -> httpx2.Response:
        self._submitted += 1
        return await self.post(
            "/v1/jobs",
            content,
            content_type="application/json",
            idempotency_key=key or f"key-{self._submitted}",
        )

    async def submitted(self, text: str = "hello", **options: Any) -> Body:
        value = {"kind": "digest", "input": {"text": text}} | options
        answer = await self.submit(json.dumps(value).encode())
        assert answer.status_code == 202, answer.text
        body: Body = answer.json()
        return body

    def headers(self, **headers: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }


@dataclass
class Engine:
    """Moves jobs as the rest of the platform would."""

    db: Database
    blobs: LocalBlobStore
    registry: RegistryRow

    async def move(
        self, job: Body, *targets: JobState, output: JobOutput | None = None, code: str = "test"
    ) -> None:
        job_id = from_public("job", job["id"])
        assert job_id is not None
        async with self.db.transaction() as conn:
            for target in targets:
                row = await (
                    await conn.execute("SELECT state, state_version FROM jobs WHERE id = %s", [job_id])
                ).fetchone()
                assert row is not None
                made = output if target is JobState.COMPLETED else None
                error = {"code": code} if target is JobState.FAILED else None
                change = Change(job_id, row[1], JobState(row[0]), target, "test", output=made, error=error)
                assert await transition(conn, [change], utc_now()) == {job_id}

    async def fail(self, job: Body, code: str = "test") -> None:
        await self.move(job, JobState.PROCESSING, JobState.FAILED, code=code)

    def execution(self) -> Execution:
        return Execution(self.db, "worker of the tests", timedelta(minutes=1), utc_now, self.blobs)

    async def dispatch(self, job: Body, mode: Mode = Mode.INLINE) -> UUID:
        """Make an attempt that waits for a worker."""
        job_id = from_public("job", job["id"])
        assert job_id is not None
        async with self.db.transaction() as conn:
            row = await (
                await conn.execute("SELECT tenant_id, kind, priority FROM jobs WHERE id = %s", [job_id])
            ).fetchone()
            assert row is not None
            new = NewAttempt(new_id(), job_id, row[0], row[1], row[2], mode, new_id())
            epoch = await leases.acquire(conn, DISPATCHER_LEASE, "test", timedelta(hours=1))
            assert epoch is not None
            assert await dispatch_repository.write_deal(
                conn, DISPATCHER_LEASE, epoch, turns=[], attempts=[new], at=utc_now()
            )
        return new.id

    async def attempt(self, job: Body, mode: Mode = Mode.INLINE) -> OpenAttempt:
        """Open an attempt, as a worker does."""
        (opened,) = await self.execution().open([await self.dispatch(job, mode)])
        return opened

    async def redrive(self, ahead: timedelta = timedelta(0)) -> int:
        """Carry out what is due of the redrives, by a clock that is ahead."""
        async with self.db.transaction() as conn:
            epoch = await leases.acquire(conn, REDRIVER_LEASE, "test", timedelta(hours=1))
        assert epoch is not None
        return await Redriver(self.db, lambda: utc_now() + ahead).run_pass(epoch)

    async def complete(self, job: Body, output: bytes, media_type: str = "application/json") -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield output

        stored = await self.blobs.put(chunks(), 1 << 30)
        assert stored.hash == hashlib.sha256(output).digest()
        made = JobOutput(stored.hash, stored.size, media_type, stored.content)
        await self.own(job, made)
        await self.move(job, JobState.PROCESSING, JobState.COMPLETED, output=made)

    async def own(self, job: Body, output: JobOutput) -> None:
        async with self.db.transaction() as conn:
            row = await (
                await conn.execute(
                    "SELECT tenant_id FROM jobs WHERE id = %s", [from_public("job", job["id"])]
                )
            ).fetchone()
            assert row is not None
            made = MadeBlob(row[0], output.hash, output.size, output.media_type, output.content)
            await own_blobs(conn, [made], utc_now())

    async def seal(self) -> None:
        """Put what is completed into one batch."""
        async with self.db.transaction() as conn:
            epoch = await leases.acquire(conn, NAME, "test", timedelta(hours=1))
        assert epoch is not None
        settings = BatcherSettings(max_jobs=1, manifest_key=SecretBytes(bytes(32)))
        assert await Batcher(self.db, self.blobs, self.registry, settings, utc_now).run_pass(epoch)

    async def confirm(self) -> None:
        """Announce the one batch there is as final."""
        async with self.db.transaction() as conn:
            batch = await (await conn.execute("SELECT root, leaf_count FROM batches")).fetchone()
            assert batch is not None
            words = await (await conn.execute("SELECT index, mask, root FROM batch_words")).fetchall()
            event = FinalEvent(
                chain_id=self.registry.chain_id,
                address=self.registry.address,
                block_number=7,
                block_hash=b"\x07" * 32,
                block_time=datetime(2030, 1, 1, tzinfo=UTC),
                transaction_hash=b"\x08" * 32,
                log_index=0,
                topics=(BATCH_CONFIRMED_TOPIC, batch[0], bytes(32), bytes(32)),
                data=encode(
                    ["uint32", "uint8", "(uint64,uint256,bytes32)[]"],
                    [batch[1], 1, [(index, int.from_bytes(mask), root) for index, mask, root in words]],
                ),
            )
            await on_batch_confirmed(conn, event, utc_now)


@pytest.fixture
def settings(urls: Any, tmp_path: Path, registry_row: RegistryRow, valkey_url: str) -> Settings:
    served = settings_for(urls.api, tmp_path / "blobs", registry_row, valkey_url)
    return replace(served, admin_database=AdminDatabaseSettings(url=SecretStr(urls.admin)))


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(create_app(settings)) as client:
        yield client


@pytest.fixture
async def acme(client: httpx2.AsyncClient, owner_db: Database) -> Caller:
    return Caller(client, await new_key(owner_db, "acme"))


@pytest.fixture
async def rival(client: httpx2.AsyncClient, owner_db: Database) -> Caller:
    return Caller(client, await new_key(owner_db, "rival"))


@pytest.fixture
async def operator_key(admin_db: Database) -> str:
    """A key of the platform's own tenant, for everything."""
    tenants = TenantService(admin_db, KEYS)
    tenant = await tenants.create_tenant("operator", is_operator=True)
    return (await tenants.create_key(tenant, "test", Scope)).secret


async def new_key(
    owner_db: Database, tenant: str, clock: Clock = utc_now, *, limits: Limits | None = ROOM
) -> str:
    """Make a tenant, with room for whatever a test does or with the limits of its plan, and a key of it."""
    tenants = TenantService(owner_db, KEYS, clock)
    tenant_id = await tenants.create_tenant(tenant)
    if limits is not None:
        await set_limits(owner_db, tenant_id, limits)
    return (await tenants.create_key(tenant_id, "test")).secret


async def set_limits(owner_db: Database, tenant: UUID, limits: Limits) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute(
            """UPDATE tenants SET submissions_per_minute = %(submissions_per_minute)s,
                   submissions_burst = %(submissions_burst)s, reads_per_minute = %(reads_per_minute)s,
                   reads_burst = %(reads_burst)s, jobs_per_day = %(jobs_per_day)s,
                   compute_per_month = %(compute_per_month)s, storage_cap = %(storage_bytes)s,
                   running_cap = %(running_jobs)s, waiting_cap = %(waiting_jobs)s
               WHERE id = %(id)s""",
            asdict(limits) | {"id": tenant},
        )


@pytest.fixture
def engine(relayer_db: Database, settings: Settings, registry_row: RegistryRow) -> Engine:
    return Engine(relayer_db, LocalBlobStore(settings.blobs.folder), registry_row)


async def until_heard(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until what was announced is so: by the announcement, long before what is remembered ends by itself."""
    until = time.monotonic() + LIFETIME.total_seconds() / 2
    while not await is_so():
        assert time.monotonic() < until
        await asyncio.sleep(0.005)


def assert_problem(answer: httpx2.Response, status: int, code: str) -> Body:
    """Check what every problem document has; give it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: Body = answer.json()
    assert body.keys() == {
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "code",
        "request_id",
        "retryable",
        "errors",
        "meta",
    }
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:jobseal:problem:{code}"
    assert body["request_id"] == answer.headers["request-id"]
    assert "Traceback" not in answer.text
    return body
