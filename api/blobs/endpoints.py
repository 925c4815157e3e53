"""The REST surface of blobs."""

import re
from uuid import UUID

from fastapi import APIRouter, Request, Response

from api.auth import BlobReader, BlobWriter
from api.blobs.schemas import BlobBody, StoredBlobBody
from api.bodies import json_response
from api.body_size import announced_bytes, limited_stream
from api.caching import NOT_MODIFIED
from api.errors import Code, ProblemError
from api.idempotency import idempotency_key
from api.schemas import headers, links, problems, request_body
from api.services import Services, ServicesDep
from api.streams import attachment
from relayer.jobs.blob_references import parse_reference, to_reference
from relayer.jobs.blob_repository import OwnedBlob
from relayer.jobs.errors import BlobNotFoundError

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
    operation_id="upload_blob",
    summary="Upload a blob",
    responses={
        201: {
            "model": BlobBody,
            **links(
                blob=("get_blob", "blob", "$response.body#/blob"),
                content=("get_blob_content", "blob", "$response.body#/blob"),
                delete=("delete_blob", "blob", "$response.body#/blob"),
            ),
        },
        **problems(
            Code.INVALID_IDEMPOTENCY_KEY,
            Code.STORAGE_FULL,
            Code.BODY_TOO_LARGE,
            Code.UNSUPPORTED_MEDIA_TYPE,
            Code.IDEMPOTENCY_KEY_REUSED,
        ),
    },
    openapi_extra=_REQUEST_BODY | request_body(None, key=False),
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
        announced=announced_bytes(request),
    )
    return json_response({"blob": to_reference(stored.hash), "size": stored.size}, 201)


@router.get(
    "/{blob}",
    operation_id="get_blob",
    summary="Read what is known of a blob",
    responses={200: {"model": StoredBlobBody}, **problems(Code.BLOB_NOT_FOUND)},
)
async def read(blob: str, principal: BlobReader, services: ServicesDep) -> Response:
    """Give size, media type and age of a blob that this tenant owns."""
    found = await _blob(services, principal.tenant_id, blob)
    return json_response(
        {
            "blob": to_reference(found.hash),
            "size": found.size,
            "media_type": found.media_type,
            "created_at": found.created_at,
        }
    )


@router.get(
    "/{blob}/content",
    operation_id="get_blob_content",
    summary="Read a blob",
    response_class=Response,
    responses={
        200: {
            "description": "The bytes of the blob",
            "content": {"*/*": {}},
            **headers("ETag", "Cache-Control"),
        },
        304: NOT_MODIFIED,
        **problems(Code.BLOB_NOT_FOUND, Code.TOO_MANY_STREAMS),
    },
    openapi_extra=request_body(None, headers=["If-None-Match"]),
)
async def content(request: Request, blob: str, principal: BlobReader, services: ServicesDep) -> Response:
    """Stream exactly the bytes that the reference is the hash of."""
    found = await _blob(services, principal.tenant_id, blob)
    chunks = services.streams.counted(principal.tenant_id, services.blobs.chunks(found))
    return await attachment(request, found.hash, found.media_type, found.size, chunks)


@router.delete(
    "/{blob}",
    status_code=204,
    operation_id="delete_blob",
    summary="Delete a blob",
    response_class=Response,
    responses={
        204: {"description": "It is the tenant's no more"},
        **problems(Code.BLOB_NOT_FOUND, Code.BLOB_IN_USE),
    },
)
async def delete(blob: str, principal: BlobWriter, services: ServicesDep) -> Response:
    """End this tenant's ownership; refused while a job that has not ended names the blob in its input."""
    await services.blobs.delete(principal.tenant_id, _hash(blob))
    return Response(status_code=204)


async def _blob(services: Services, tenant: UUID, reference: str) -> OwnedBlob:
    found = await services.blobs.find(tenant, _hash(reference))
    if found is None:
        raise BlobNotFoundError
    return found


def _hash(reference: str) -> bytes:
    """Read a reference; a malformed one gives the same answer as one that is unknown or another tenant's."""
    blob_hash = parse_reference(reference)
    if blob_hash is None:
        raise BlobNotFoundError
    return blob_hash
