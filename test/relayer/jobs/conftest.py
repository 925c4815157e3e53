"""What the tests of jobs share: tenants, the services in their roles, and worker processes with the test kinds."""

import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from support import Platform, pool

from relayer.jobs.handlers.registry import Handlers, load_handlers
from relayer.jobs.queue import JobQueue
from relayer.jobs.service import JobService
from relayer.local.valkey import EmbeddedValkey
from relayer.model.clock import utc_now
from relayer.model.ids import new_id
from relayer.settings import DispatcherSettings, RedisSettings
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

PLUGINS = Path(__file__).resolve().parents[2] / "handlers"


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Handlers:
    monkeypatch.syspath_prepend(str(PLUGINS))
    return load_handlers()


@pytest.fixture(scope="session")
def blob_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blobs")


@pytest.fixture
def blobs(blob_folder: Path) -> LocalBlobStore:
    return LocalBlobStore(blob_folder)


@pytest.fixture
async def tenants(owner_db: Database) -> list[UUID]:
    ids = [new_id(), new_id()]
    async with owner_db.transaction() as conn:
        for number, tenant in enumerate(ids):
            await conn.execute("INSERT INTO tenants VALUES (%s, %s, now())", [tenant, f"tenant-{number}"])
    return ids


@pytest.fixture
def service(
    api_db: Database, registry_row: RegistryRow, handlers: Handlers, blobs: LocalBlobStore
) -> JobService:
    async def registry() -> RegistryRow:
        return registry_row

    return JobService(api_db, registry, handlers, blobs, utc_now)


@pytest.fixture(scope="session")
def worker_environment(
    postgres_urls: Any, valkey_server: EmbeddedValkey, blob_folder: Path
) -> dict[str, str]:
    return {
        "JOBSEAL_DATABASE_URL": postgres_urls.relayer,
        "JOBSEAL_REDIS_URL": valkey_server.url,
        "JOBSEAL_BLOBS_FOLDER": str(blob_folder),
        "JOBSEAL_BLOBS_MAX_BYTES": str(1 << 22),
        "JOBSEAL_WORKER_LEASE": "PT2S",
        "JOBSEAL_WORKER_RENEW_EVERY": "PT0.3S",
        "JOBSEAL_WORKER_CHECK_EVERY": "PT0.1S",
        "JOBSEAL_WORKER_CANCEL_GRACE": "PT1S",
        "JOBSEAL_WORKER_DRAIN_GRACE": "PT1S",
        "JOBSEAL_WORKER_MEMORY_BYTES": str(1 << 29),
        "PYTHONPATH": str(PLUGINS),
    }


@pytest.fixture
def environment(
    urls: Any,  # noqa: ARG001 - the stores are empty
    valkey_url: str,  # noqa: ARG001
    worker_environment: dict[str, str],
) -> dict[str, str]:
    """What worker processes of a test are told."""
    return worker_environment


@pytest.fixture(scope="module")
def long_lived_pool(
    request: pytest.FixtureRequest, worker_environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """One inline worker and one isolated one for all tests of a module, which may say more in `WORKER`."""
    settings = worker_environment | getattr(request.module, "WORKER", {})
    with pool(settings, 1, 1) as process:
        yield process


@pytest.fixture
def served(platform: Platform, long_lived_pool: subprocess.Popen[bytes]) -> Platform:
    """The engine with the workers of the module."""
    assert long_lived_pool.poll() is None
    return platform


@pytest.fixture
def platform(
    service: JobService,
    handlers: Handlers,
    environment: dict[str, str],
    relayer_db: Database,
    valkey_url: str,
) -> Platform:
    return Platform(
        service,
        relayer_db,
        JobQueue(RedisSettings(url=SecretStr(valkey_url))),
        handlers,
        DispatcherSettings(push_again_after=timedelta(seconds=1), inline_window=20),
        environment,
    )
