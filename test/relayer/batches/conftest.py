import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretBytes

from relayer.batches.batcher import NAME, Batcher
from relayer.model.ids import new_id
from relayer.settings import BatcherSettings
from relayer.store import leases
from relayer.store.blobs import BlobStore, LocalBlobStore
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

from .clock import NOON, HeldClock
from .onchain import anvil, deployed_row, relayer, signer

__all__ = ["NOON", "HeldClock", "anvil", "deployed_row", "relayer", "signer"]


KEY = bytes(range(32))
MAX_AGE = timedelta(seconds=60)
GWEI = 10**9


InsertFinished = Callable[..., Awaitable[list[UUID]]]
MakeBatcher = Callable[..., Batcher]
SealJobs = Callable[[Sequence[int]], Awaitable[list[UUID]]]


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobStore:
    return LocalBlobStore(tmp_path / "blobs")


@pytest.fixture
def make_batcher(
    relayer_db: Database, blobs: LocalBlobStore, registry_row: RegistryRow, clock: HeldClock
) -> MakeBatcher:
    def make(
        *,
        max_jobs: int = 4_096,
        registry: RegistryRow = registry_row,
        store: BlobStore = blobs,
        gas_price: int | None = None,
    ) -> Batcher:
        async def price() -> int | None:
            return gas_price

        settings = BatcherSettings(max_jobs=max_jobs, max_age=MAX_AGE, manifest_key=SecretBytes(KEY))
        return Batcher(relayer_db, store, registry, settings, clock, gas_price=price)

    return make


@pytest.fixture
async def epoch(relayer_db: Database) -> int:
    async with relayer_db.transaction() as conn:
        epoch = await leases.acquire(conn, NAME, "test", timedelta(hours=1))
    assert epoch is not None
    return epoch


@pytest.fixture
async def tenant(owner_db: Database) -> UUID:
    return await add_tenant(owner_db, "acme")


async def add_tenant(owner_db: Database, name: str) -> UUID:
    tenant = new_id()
    async with owner_db.transaction() as conn:
        await conn.execute(
            "INSERT INTO tenants (id, name, created_at) VALUES (%s, %s, %s)", [tenant, name, NOON]
        )
    return tenant


@pytest.fixture
async def other_tenant(owner_db: Database) -> UUID:
    return await add_tenant(owner_db, "other")


@pytest.fixture
def insert_finished(owner_db: Database, registry_row: RegistryRow, tenant: UUID) -> InsertFinished:
    """Put finished jobs, one a ticket, where the engine would leave them."""

    async def insert(
        tickets: Sequence[int], *, ready_at: datetime = NOON, registry: RegistryRow = registry_row
    ) -> list[UUID]:
        ids = [new_id() for _ in tickets]
        async with owner_db.transaction() as conn, conn.cursor() as cursor:
            await cursor.executemany(
                """INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, state_version, input, input_hash,
                                     metadata, salt, max_attempts, run_at, output_hash, output_size,
                                     output_media_type, created_at, result_ready_at)
                   VALUES (%s, %s, %s, %s, 'digest', 'completed', 3, '{}', %s, '{}', %s, 1, %s, %s, 0,
                           'application/json', %s, %s)""",
                [
                    (
                        job_id,
                        tenant,
                        registry.id,
                        ticket,
                        hashlib.sha256(b"input %d" % ticket).digest(),
                        hashlib.sha256(b"salt %d" % ticket).digest(),
                        ready_at,
                        hashlib.sha256(b"output %d" % ticket).digest(),
                        ready_at,
                        ready_at,
                    )
                    for job_id, ticket in zip(ids, tickets, strict=True)
                ],
            )
        return ids

    return insert


@pytest.fixture
def seal_jobs(make_batcher: MakeBatcher, insert_finished: InsertFinished, epoch: int) -> SealJobs:
    """Put finished jobs, one a ticket, and seal them into one batch."""

    async def seal(tickets: Sequence[int]) -> list[UUID]:
        ids = await insert_finished(tickets)
        assert await make_batcher(max_jobs=len(ids)).run_pass(epoch) == len(ids)
        return ids

    return seal
