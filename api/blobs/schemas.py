"""Blobs as JSON."""

from pydantic import BaseModel


class BlobBody(BaseModel):
    """A stored blob: the reference that an input uses, `sha256:` and 64 hex digits, and its size in bytes."""

    blob: str
    size: int
