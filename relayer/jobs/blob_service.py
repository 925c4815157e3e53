"""What tenants do with blobs: upload them, so that their jobs can name them."""

from collections.abc import AsyncIterable
from uuid import UUID

from relayer.jobs import repository
from relayer.jobs.submission import KEY_LIFETIME
from relayer.model.clock import Clock
from relayer.model.errors import IdempotencyKeyReusedError
from relayer.store.blobs import BlobStore, StoredBlob
from relayer.store.database import Database

UPLOAD_ROUTE = "POST /v1/blobs"


class BlobService:
    """The blobs of tenants, in the role of the API."""

    def __init__(self, db: Database, blobs: BlobStore, clock: Clock) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock

    async def upload(
        self,
        tenant: UUID,
        chunks: AsyncIterable[bytes],
        media_type: str,
        idempotency_key: str | None,
        max_bytes: int,
    ) -> StoredBlob:
        """Store a blob, then write down whose it is; the same bytes again are the same blob.

        Raises:
            BlobTooLargeError: more than `max_bytes` came.
            IdempotencyKeyReusedError: the key came before with other bytes.
            UnavailableError: the database is away.

        """
        stored = await self._blobs.put(chunks, max_bytes)
        at = self._clock()
        async with self._db.transaction(tenant) as conn:
            if idempotency_key is not None and not await repository.claim_key(
                conn,
                tenant,
                route=UPLOAD_ROUTE,
                key=idempotency_key,
                fingerprint=stored.hash,
                at=at,
                expires_at=at + KEY_LIFETIME,
            ):
                raise IdempotencyKeyReusedError(idempotency_key)
            await repository.own_blob(conn, tenant, stored, media_type, at)
        return stored
