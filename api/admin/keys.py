"""The REST surface of any tenant's keys, for the platform's operator."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.admin.access import AdminReader, AdminWriter
from api.admin.tenants import parse_tenant
from api.bodies import BODY_PROBLEMS, json_response, read_json, validate
from api.errors import Code
from api.idempotency import REPLAYED, request_key
from api.keys.schemas import CreateKeyBody, KeyPage, MadeKeyBody, NewKeyBody, key_body, new_key_body
from api.pagination import LIST_PROBLEMS, Listing, PageQuery, read_page
from api.schemas import headers, links, problems, request_body
from api.services import ServicesDep
from relayer.model.ids import from_public
from relayer.tenants.errors import KeyNotFoundError
from relayer.tenants.key_repository import ApiKey
from relayer.tenants.keys import KEY_PREFIX
from relayer.tenants.request_keys import RepeatedRequestError

router = APIRouter(prefix="/v1/admin", tags=["administration"])

_NO_STORE = {"Cache-Control": "no-store"}


@router.post(
    "/tenants/{tenant_id}/keys",
    status_code=201,
    operation_id="create_tenant_key",
    summary="Make a key of a tenant",
    responses={
        200: {
            "model": MadeKeyBody,
            "description": "An earlier request with the same `Idempotency-Key` made it; its secret is not shown again",
            **headers("Cache-Control", "Idempotency-Replayed"),
        },
        201: {
            "model": NewKeyBody,
            **headers("Cache-Control"),
            **links(revoke=("revoke_any_key", "key_id", "$response.body#/id")),
        },
        **problems(
            *BODY_PROBLEMS,
            Code.INVALID_IDEMPOTENCY_KEY,
            Code.IDEMPOTENCY_KEY_REUSED,
            Code.NOT_FOUND,
            Code.PRIVILEGE_EXCEEDED,
            Code.TENANT_NOT_FOUND,
            Code.KEY_LIMIT_REACHED,
        ),
    },
    openapi_extra=request_body(CreateKeyBody, key=False),
)
async def create(request: Request, tenant_id: str, admin: AdminWriter, services: ServicesDep) -> Response:
    """Make a key, for a tenant that has none yet; its secret is in this answer and nowhere else.

    The same `Idempotency-Key` and body again give 200 with the key without its secret: where the answer was lost,
    revoke that key and make another.
    """
    wanted = await admin.services.tenants.get(parse_tenant(tenant_id))
    value = await read_json(request, services.max_body_bytes)
    body = validate(CreateKeyBody, value)
    # For another tenant an operator is bound by that tenant alone; for his own by what he may himself.
    maker = admin.principal if wanted.is_operator else None
    try:
        new = await admin.services.keys.create(
            wanted.id,
            body.request(),
            maker,
            origin=admin.origin,
            request=request_key(request, admin.principal, value),
        )
    except RepeatedRequestError as repeated:
        key = await admin.services.keys.get(wanted.id, repeated.made)
        return json_response(key_body(key, services.clock()), 200, _NO_STORE | REPLAYED)
    return json_response(new_key_body(new, services.clock()), 201, _NO_STORE)


@router.get(
    "/tenants/{tenant_id}/keys",
    operation_id="list_tenant_keys",
    summary="List the keys of a tenant, newest first",
    responses={200: {"model": KeyPage}, **problems(*LIST_PROBLEMS, Code.NOT_FOUND, Code.TENANT_NOT_FOUND)},
)
async def list_keys(
    tenant_id: str, query: Annotated[PageQuery, Query()], admin: AdminReader, services: ServicesDep
) -> Response:
    """Give a page of a tenant's keys, those that have ended included."""
    wanted, now = (await admin.services.tenants.get(parse_tenant(tenant_id))).id, services.clock()

    async def fetch(after: bytes | None, limit: int) -> list[ApiKey]:
        return await admin.services.keys.list(wanted, None if after is None else UUID(bytes=after), limit)

    page = await read_page(
        services.page_tokens,
        Listing(admin.principal.tenant_id, "/v1/admin/tenants/keys", {"tenant": str(wanted)}),
        query,
        fetch=fetch,
        position=lambda key: key.id.bytes,
        body=lambda key: key_body(key, now),
    )
    return json_response(page)


@router.delete(
    "/keys/{key_id}",
    status_code=204,
    operation_id="revoke_any_key",
    summary="Revoke a key of any tenant",
    response_class=Response,
    responses={
        204: {"description": "Revoked, now or before"},
        **problems(Code.NOT_FOUND, Code.KEY_NOT_FOUND),
    },
)
async def revoke(key_id: str, admin: AdminWriter) -> Response:
    """End a key and every access token that was issued through it, everywhere within a minute."""
    wanted = from_public(KEY_PREFIX, key_id)
    if wanted is None:
        raise KeyNotFoundError
    keys = admin.services.keys
    await keys.revoke(await keys.tenant_of(wanted), wanted, origin=admin.origin)
    return Response(status_code=204)
