"""The REST surface of blobs."""

import re

from fastapi import APIRouter, Request, Response

from api.auth import BlobWriter
from api.blobs.schemas import BlobBody
from api.bodies import json_response
from api.errors import Code, ProblemError
from api.idempotency import idempotency_key
from api.limits import limited_stream
from api.schemas import problems
from api.services import ServicesDep

router = APIRouter(prefix="/v1/blobs", tags=["blobs"])

_TOKEN = r"[A-Za-z0-9!#$&^_.+-]{1,64}"  # noqa: S105 - a token of RFC 9110, not a secret
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:\s*;[ -~]{{0,120}})?")
_REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
    },
}


@router.post(
    "",
    status_code=201,
    summary="Upload a blob",
    responses={201: {"model": BlobBody}, **problems(400, 413, 415)},
    openapi_extra=_REQUEST_BODY,
)
async def upload(request: Request, principal: BlobWriter, services: ServicesDep) -> Response:
    """Store the raw body under its SHA-256, for the inputs of this tenant's jobs."""
    key = idempotency_key(request)
    media_type = request.headers.get("content-type", "application/octet-stream")
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise ProblemError(
            Code.UNSUPPORTED_MEDIA_TYPE, "send a Content-Type such as application/octet-stream"
        )
    stored = await services.blobs.upload(
        principal.tenant_id,
        limited_stream(request, services.max_blob_bytes),
        media_type,
        key,
        services.max_blob_bytes,
    )
    return json_response({"blob": f"sha256:{stored.hash.hex()}", "size": stored.size}, 201)
