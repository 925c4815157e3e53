"""What tenants do with blobs: upload them, so that their jobs can name them, look at them, delete them."""

from collections.abc import AsyncGenerator, AsyncIterable
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.jobs import blob_repository, repository, submission_repository
from relayer.jobs.blob_reader import BlobReader
from relayer.jobs.blob_repository import MadeBlob, OwnedBlob
from relayer.jobs.errors import BlobInUseError, BlobNotFoundError, StorageFullError
from relayer.jobs.submission import KEY_LIFETIME
from relayer.model.clock import Clock
from relayer.model.errors import IdempotencyKeyReusedError
from relayer.store.blobs import BlobStore, BlobTooLargeError, StoredBlob
from relayer.store.database import Database

UPLOAD_ROUTE = "POST /v1/blobs"


class BlobService:
    """The blobs of tenants, in the role of the API."""

    def __init__(self, db: Database, blobs: BlobStore, clock: Clock) -> None:
        self._db = db
        self._blobs = blobs
        self._reader = BlobReader(db, blobs)
        self._clock = clock

    async def upload(
        self,
        tenant: UUID,
        chunks: AsyncIterable[bytes],
        media_type: str,
        idempotency_key: str | None,
        max_bytes: int,
        *,
        announced: int | None = None,
    ) -> StoredBlob:
        """Store a blob and write down whose it is; the same bytes again are the same blob.

        Args:
            tenant: whose it will be.
            chunks: its bytes, of which nothing is read where `announced` tells that they do not fit.
            media_type: as it is given back; of the same bytes the first one stays.
            idempotency_key: the same key stands for the same bytes.
            max_bytes: how large it may be.
            announced: how large it is said to be.

        Raises:
            BlobTooLargeError: more than `max_bytes` came.
            StorageFullError: the tenant would store more than it may; nothing was kept.
            IdempotencyKeyReusedError: the key came before with other bytes.
            UnavailableError: the database is away.

        """
        async with self._db.transaction(tenant) as conn:
            storage = await blob_repository.storage(conn, tenant)
            # What is stored already needs no room: a repeated upload is heard out, even by a full storage.
            repeated = idempotency_key is not None and await submission_repository.used_keys(
                conn, tenant, UPLOAD_ROUTE, [idempotency_key], self._clock()
            )
        room = max_bytes if repeated else storage.room
        if announced is not None and room < announced <= max_bytes:
            raise StorageFullError(storage.used, storage.cap)
        try:
            async with self._blobs.receive(chunks, min(max_bytes, room)) as incoming:
                async with self._db.transaction(tenant) as conn:
                    if idempotency_key is not None:
                        await self._claim(conn, tenant, idempotency_key, incoming.blob)
                    await self._own(conn, tenant, incoming.blob, media_type)
                    # Under the lock of its row, so that the janitor cannot come between.
                    await incoming.place()
                return incoming.blob
        except BlobTooLargeError as error:
            if error.max_bytes < max_bytes:
                raise StorageFullError(storage.used, storage.cap) from error
            raise

    async def find(self, tenant: UUID, blob_hash: bytes) -> OwnedBlob | None:
        """Give a blob of this tenant, or None."""
        return await self._reader.find(tenant, blob_hash)

    def chunks(self, blob: OwnedBlob) -> AsyncGenerator[bytes, None]:
        """Stream a blob that was found; raises as `BlobStore.read` does."""
        return self._reader.chunks(blob)

    async def delete(self, tenant: UUID, blob_hash: bytes) -> None:
        """End a tenant's ownership; the janitor deletes what nobody owns.

        Raises:
            BlobNotFoundError: the blob is not the tenant's.
            BlobInUseError: a job that has not ended names it in its input.
            UnavailableError: the database is away.

        """
        async with self._db.transaction(tenant) as conn:
            if not await blob_repository.lock_owner(conn, tenant, blob_hash):
                raise BlobNotFoundError
            user = await blob_repository.unfinished_user(conn, tenant, blob_hash)
            if user is not None:
                raise BlobInUseError(user)
            await blob_repository.drop_owner(conn, tenant, blob_hash)

    async def _claim(self, conn: AsyncConnection[TupleRow], tenant: UUID, key: str, blob: StoredBlob) -> None:
        at = self._clock()
        if not await repository.claim_key(
            conn,
            tenant,
            route=UPLOAD_ROUTE,
            key=key,
            fingerprint=blob.hash,
            at=at,
            expires_at=at + KEY_LIFETIME,
        ):
            raise IdempotencyKeyReusedError(key)

    async def _own(
        self, conn: AsyncConnection[TupleRow], tenant: UUID, blob: StoredBlob, media_type: str
    ) -> None:
        made = MadeBlob(tenant, blob.hash, blob.size, media_type, blob.content)
        if await blob_repository.own_blobs(conn, [made], self._clock()):
            storage = await blob_repository.storage(conn, tenant)
            if storage.used > storage.cap:
                raise StorageFullError(storage.used - blob.size, storage.cap)
