"""The REST surface of API keys."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.auth import KeyReader, KeyWriter
from api.bodies import BODY_PROBLEMS, json_response, read_json, validate
from api.errors import Code
from api.idempotency import REPLAYED, request_key
from api.keys.schemas import (
    CreateKeyBody,
    KeyBody,
    KeyPage,
    MadeKeyBody,
    NewKeyBody,
    RotateKeyBody,
    key_body,
    new_key_body,
)
from api.origin import origin_of
from api.pagination import LIST_PROBLEMS, Listing, PageQuery, read_page
from api.schemas import headers, links, problems, request_body
from api.services import Services, ServicesDep
from relayer.model.ids import from_public, to_public
from relayer.tenants.errors import KeyNotFoundError
from relayer.tenants.key_repository import ApiKey
from relayer.tenants.key_service import NewKey
from relayer.tenants.keys import KEY_PREFIX
from relayer.tenants.principal import Principal
from relayer.tenants.request_keys import RepeatedRequestError

router = APIRouter(prefix="/v1/keys", tags=["keys"])

# Whatever stores an answer on its way must not store a secret.
_NO_STORE = {"Cache-Control": "no-store"}
_MADE = {
    "model": NewKeyBody,
    **headers("Location", "Cache-Control"),
    **links(
        key=("get_key", "key_id", "$response.body#/id"),
        rotate=("rotate_key", "key_id", "$response.body#/id"),
        revoke=("revoke_key", "key_id", "$response.body#/id"),
    ),
}
_MADE_BEFORE = {
    "model": MadeKeyBody,
    "description": "An earlier request with the same `Idempotency-Key` made it; its secret is not shown again",
    **headers("Location", "Cache-Control", "Idempotency-Replayed"),
}
_REPEAT_PROBLEMS = (Code.INVALID_IDEMPOTENCY_KEY, Code.IDEMPOTENCY_KEY_REUSED)


@router.post(
    "",
    status_code=201,
    operation_id="create_key",
    summary="Make an API key",
    responses={
        200: _MADE_BEFORE,
        201: _MADE,
        **problems(*BODY_PROBLEMS, *_REPEAT_PROBLEMS, Code.PRIVILEGE_EXCEEDED, Code.KEY_LIMIT_REACHED),
    },
    openapi_extra=request_body(CreateKeyBody, key=False),
)
async def create(request: Request, principal: KeyWriter, services: ServicesDep) -> Response:
    """Make a key that may do at most what this one may; its secret is in this answer and nowhere else.

    The same `Idempotency-Key` and body again give 200 with the key without its secret: where the answer was lost,
    rotate that key.
    """
    value = await read_json(request, services.max_body_bytes)
    body = validate(CreateKeyBody, value)
    try:
        new = await services.keys.create(
            principal.tenant_id,
            body.request(),
            principal,
            origin=origin_of(request, principal),
            request=request_key(request, principal, value),
        )
    except RepeatedRequestError as repeated:
        return await _made_before(services, principal, repeated)
    return _made(services, new)


@router.get(
    "",
    operation_id="list_keys",
    summary="List API keys, newest first",
    responses={200: {"model": KeyPage}, **problems(*LIST_PROBLEMS)},
)
async def list_keys(
    query: Annotated[PageQuery, Query()], principal: KeyReader, services: ServicesDep
) -> Response:
    """Give a page of the tenant's keys, those that have ended included."""
    tenant, now = principal.tenant_id, services.clock()

    async def fetch(after: bytes | None, limit: int) -> list[ApiKey]:
        return await services.keys.list(tenant, None if after is None else UUID(bytes=after), limit)

    page = await read_page(
        services.page_tokens,
        Listing(tenant, "/v1/keys"),
        query,
        fetch=fetch,
        position=lambda key: key.id.bytes,
        body=lambda key: key_body(key, now),
    )
    return json_response(page)


@router.get(
    "/{key_id}",
    operation_id="get_key",
    summary="Read an API key",
    responses={200: {"model": KeyBody}, **problems(Code.KEY_NOT_FOUND)},
)
async def read(key_id: str, principal: KeyReader, services: ServicesDep) -> Response:
    """Give a key without its secret."""
    key = await services.keys.get(principal.tenant_id, _id(key_id))
    return json_response(key_body(key, services.clock()))


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    operation_id="rotate_key",
    summary="Replace an API key",
    responses={
        200: _MADE_BEFORE,
        201: _MADE,
        **problems(
            *BODY_PROBLEMS,
            *_REPEAT_PROBLEMS,
            Code.PRIVILEGE_EXCEEDED,
            Code.KEY_NOT_FOUND,
            Code.KEY_ENDED,
            Code.KEY_LIMIT_REACHED,
        ),
    },
    openapi_extra=request_body(RotateKeyBody, key=False),
)
async def rotate(key_id: str, request: Request, principal: KeyWriter, services: ServicesDep) -> Response:
    """Make a key with another secret and the same rights; the old one ends after the overlap.

    `Idempotency-Key` is as for making one.
    """
    wanted = _id(key_id)
    value = await read_json(request, services.max_body_bytes)
    body = validate(RotateKeyBody, value)
    try:
        new = await services.keys.rotate(
            principal.tenant_id,
            wanted,
            overlap=body.overlap,
            expires_at=body.expires_at,
            maker=principal,
            origin=origin_of(request, principal),
            request=request_key(request, principal, value),
        )
    except RepeatedRequestError as repeated:
        return await _made_before(services, principal, repeated)
    return _made(services, new)


@router.delete(
    "/{key_id}",
    status_code=204,
    operation_id="revoke_key",
    summary="Revoke an API key",
    response_class=Response,
    responses={204: {"description": "Revoked, now or before"}, **problems(Code.KEY_NOT_FOUND)},
)
async def revoke(request: Request, key_id: str, principal: KeyWriter, services: ServicesDep) -> Response:
    """End a key and every access token that was issued through it, everywhere within a minute."""
    await services.keys.revoke(principal.tenant_id, _id(key_id), origin=origin_of(request, principal))
    return Response(status_code=204)


def _id(text: str) -> UUID:
    key_id = from_public(KEY_PREFIX, text)
    if key_id is None:
        raise KeyNotFoundError
    return key_id


def _made(services: Services, new: NewKey) -> Response:
    return json_response(new_key_body(new, services.clock()), 201, _NO_STORE | _location(new.id))


async def _made_before(services: Services, principal: Principal, repeated: RepeatedRequestError) -> Response:
    key = await services.keys.get(principal.tenant_id, repeated.made)
    return json_response(key_body(key, services.clock()), 200, _NO_STORE | _location(key.id) | REPLAYED)


def _location(key_id: UUID) -> dict[str, str]:
    return {"Location": f"/v1/keys/{to_public(KEY_PREFIX, key_id)}"}
