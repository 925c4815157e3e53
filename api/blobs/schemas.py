"""Blobs as JSON."""

from datetime import datetime

from pydantic import BaseModel


class BlobBody(BaseModel):
    """A stored blob: the reference that an input uses, `sha256:` and 64 hex digits, and its size in bytes."""

    blob: str
    size: int


class StoredBlobBody(BlobBody):
    """A blob as its owner sees it: its media type as it was stored, and since when it is the tenant's."""

    media_type: str
    created_at: datetime
