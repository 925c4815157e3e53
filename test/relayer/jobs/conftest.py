"""What the tests of jobs share: tenants, the services in their roles, and worker processes with the test kinds."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from relayer.jobs.handlers.registry import Handlers, load_handlers
from relayer.jobs.service import JobService
from relayer.model.clock import utc_now
from relayer.model.ids import new_id
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

PLUGINS = Path(__file__).resolve().parents[2] / "handlers"


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> Handlers:
    monkeypatch.syspath_prepend(str(PLUGINS))
    return load_handlers()


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobStore:
    return LocalBlobStore(tmp_path / "blobs")


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


@pytest.fixture
def environment(urls: Any, valkey_url: str, tmp_path: Path) -> dict[str, str]:
    """What worker processes of a test are told."""
    return {
        "JOBSEAL_DATABASE_URL": urls.relayer,
        "JOBSEAL_REDIS_URL": valkey_url,
        "JOBSEAL_BLOBS_FOLDER": str(tmp_path / "blobs"),
        "JOBSEAL_WORKER_LEASE": "PT2S",
        "JOBSEAL_WORKER_RENEW_EVERY": "PT0.3S",
        "JOBSEAL_WORKER_CHECK_EVERY": "PT0.1S",
        "JOBSEAL_WORKER_CANCEL_GRACE": "PT1S",
        "JOBSEAL_WORKER_DRAIN_GRACE": "PT1S",
        "PYTHONPATH": str(PLUGINS),
    }
