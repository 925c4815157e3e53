"""Reads the blobs of a tenant, wherever they lie: a small one in its row, a larger one in the store."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

from relayer.jobs import blob_repository
from relayer.jobs.blob_repository import OwnedBlob
from relayer.store.blobs import BlobCorruptError, BlobStore
from relayer.store.database import Database


class BlobReader:
    """Gives a tenant what it owns."""

    def __init__(self, db: Database, store: BlobStore) -> None:
        self._db = db
        self._store = store

    async def find(self, tenant: UUID, blob_hash: bytes) -> OwnedBlob | None:
        """Give a blob of this tenant, or None."""
        async with self._db.transaction(tenant) as conn:
            return await blob_repository.owned_blob(conn, blob_hash)

    async def chunks(self, blob: OwnedBlob) -> AsyncGenerator[bytes, None]:
        """Stream a blob; raises as `BlobStore.read` does."""
        if blob.content is None:
            async with aclosing(self._store.read(blob.hash)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        if hashlib.sha256(blob.content).digest() != blob.hash:
            raise BlobCorruptError(blob.hash)
        if blob.content:
            yield blob.content
