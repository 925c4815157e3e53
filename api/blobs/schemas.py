"""Blobs as JSON."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

_EXAMPLE: dict[str, Any] = {"blob": f"sha256:{'5d' * 32}", "size": 5}


class BlobBody(BaseModel):
    """A stored blob: the reference that an input uses, `sha256:` and 64 hex digits, and its size in bytes."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    blob: str
    size: int


class StoredBlobBody(BlobBody):
    """A blob as its owner sees it: its media type as it was stored, and since when it is the tenant's."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [_EXAMPLE | {"media_type": "text/plain", "created_at": "2030-01-31T12:00:00Z"}]
        }
    )

    media_type: str
    created_at: datetime
