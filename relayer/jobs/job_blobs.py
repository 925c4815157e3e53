"""The blobs of running jobs: what their inputs name, and what they make."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator
from uuid import UUID

import psycopg

from relayer.jobs import blob_repository
from relayer.jobs.blob_reader import BlobReader
from relayer.jobs.blob_references import to_reference
from relayer.jobs.blob_repository import OwnedBlob
from relayer.jobs.failure import Failure
from relayer.jobs.handlers.base import JobFailedError
from relayer.jobs.transition import JobOutput
from relayer.model.errors import UnavailableError
from relayer.store.blobs import BlobStore, BlobTooLargeError
from relayer.store.database import Database

_LOOK_AGAIN_S = 10.0
# How long a look at a database that is away waits for the next try.
_TRY_AGAIN_S = 0.25


class JobBlobs:
    """What a worker reads and stores for its attempts.

    How much room a tenant has is looked up once in a while: outputs made meanwhile may take it past its cap, by
    as much as its workers make in that time. While the database is away there is room: what was worked out is not
    thrown away for want of a look.
    """

    def __init__(self, db: Database, store: BlobStore, max_bytes: int) -> None:
        self._db = db
        self._store = store
        self._reader = BlobReader(db, store)
        self._max_bytes = max_bytes
        self._rooms: dict[UUID, tuple[int, float]] = {}
        self._looking = asyncio.Lock()

    async def read(self, tenant: UUID, blob_hash: bytes) -> AsyncIterator[bytes]:
        """Stream a blob of a tenant; raises as `BlobStore.read` does, or `JobFailedError` where it was deleted.

        Where the database is away it waits, as long as its attempt may run.
        """
        blob = await self._find(tenant, blob_hash)
        if blob is None:
            message = f"the blob {to_reference(blob_hash)} was deleted; upload it again and redrive the job"
            raise JobFailedError("blob_deleted", message)
        async for chunk in self._reader.chunks(blob):
            yield chunk

    async def put(self, tenant: UUID, media_type: str, chunks: AsyncIterable[bytes]) -> JobOutput | Failure:
        """Store what a job made; a failure where it is too large, for any tenant or for this one."""
        room = await self._room(tenant)
        try:
            stored = await self._store.put(chunks, min(self._max_bytes, room))
        except BlobTooLargeError as error:
            if room < self._max_bytes:
                message = f"the output does not fit into the tenant's storage, which has room for {room} bytes; delete blobs"
                return Failure("storage_full", message, retryable=False)
            return Failure("output_too_large", str(error), retryable=False)
        return JobOutput(stored.hash, stored.size, media_type, stored.content)

    async def _find(self, tenant: UUID, blob_hash: bytes) -> OwnedBlob | None:
        while True:
            try:
                return await self._reader.find(tenant, blob_hash)
            except (UnavailableError, psycopg.OperationalError):
                await asyncio.sleep(_TRY_AGAIN_S)

    async def _room(self, tenant: UUID) -> int:
        known = self._known_room(tenant)
        if known is not None:
            return known
        async with self._looking:
            known = self._known_room(tenant)
            if known is None:
                try:
                    async with self._db.transaction() as conn:
                        known = (await blob_repository.storage(conn, tenant)).room
                except (UnavailableError, psycopg.OperationalError):
                    known = self._max_bytes
                self._rooms[tenant] = known, time.monotonic() + _LOOK_AGAIN_S
        return known

    def _known_room(self, tenant: UUID) -> int | None:
        room, until = self._rooms.get(tenant, (0, 0.0))
        return room if time.monotonic() < until else None
