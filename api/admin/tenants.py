"""The REST surface of tenants, for the platform's operator."""

import re
from collections.abc import Awaitable, Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.admin.access import Admin, AdminReader, AdminWriter
from api.admin.schemas import (
    SuspensionRequest,
    TenantBody,
    TenantPage,
    TenantPatch,
    TenantRequest,
    TenantsQuery,
    TenantUsageBody,
)
from api.bodies import BODY_PROBLEMS, MERGE_PATCH, json_response, read_json, validate
from api.errors import Code, Fault, ProblemError
from api.idempotency import REPLAYED, request_key
from api.pagination import LIST_PROBLEMS, Listing, read_page
from api.schemas import headers, links, problems, request_body
from api.services import ServicesDep
from relayer.model.ids import from_public
from relayer.tenants.administration_errors import TenantNotFoundError
from relayer.tenants.audit_chain import TENANT_PREFIX
from relayer.tenants.records import Tenant
from relayer.tenants.request_keys import RepeatedRequestError

PATH = "/v1/admin/tenants"

router = APIRouter(prefix=PATH, tags=["administration"])

_CHANGED = {"model": TenantBody, **headers("ETag", "Cache-Control")}
_ONCE = {"model": TenantBody, **headers("ETag", "Cache-Control", "Idempotency-Replayed")}
_REPEAT_PROBLEMS = (Code.INVALID_IDEMPOTENCY_KEY, Code.IDEMPOTENCY_KEY_REUSED)
_LINKS = links(
    tenant=("get_tenant", "tenant_id", "$response.body#/id"),
    change=("change_tenant", "tenant_id", "$response.body#/id"),
    usage=("get_tenant_usage", "tenant_id", "$response.body#/id"),
    suspend=("suspend_tenant", "tenant_id", "$response.body#/id"),
    resume=("resume_tenant", "tenant_id", "$response.body#/id"),
    key=("create_tenant_key", "tenant_id", "$response.body#/id"),
    keys=("list_tenant_keys", "tenant_id", "$response.body#/id"),
)

_TAGS = re.compile(r'\s*(?:W/)?"[^"]*"\s*(?:,\s*(?:W/)?"[^"]*"\s*)*')
_OUR_TAG = re.compile(r'(?<!W/)"(\d{1,9})"')


@router.post(
    "",
    status_code=201,
    operation_id="create_tenant",
    summary="Make a tenant",
    responses={
        201: {
            "model": TenantBody,
            **headers("Location", "ETag", "Cache-Control", "Idempotency-Replayed"),
            **_LINKS,
        },
        **problems(*BODY_PROBLEMS, *_REPEAT_PROBLEMS, Code.NOT_FOUND, Code.TENANT_NAME_TAKEN),
    },
    openapi_extra=request_body(TenantRequest, key=False),
)
async def create(request: Request, admin: AdminWriter, services: ServicesDep) -> Response:
    """Make a tenant with a plan.

    The same `Idempotency-Key` and body again give the tenant as it stands; without a key once more gives 409, with the
    tenant in `meta.tenant`.
    """
    value = await read_json(request, services.max_body_bytes)
    body = validate(TenantRequest, value)
    once, replayed = request_key(request, admin.principal, value), {}
    try:
        tenant = await admin.services.tenants.create(body.name, admin.origin, body.change(), request=once)
    except RepeatedRequestError as repeated:
        tenant, replayed = await admin.services.tenants.get(repeated.made), REPLAYED
    return _answer(tenant, 201, {"Location": f"{PATH}/{tenant.to_document()['id']}"} | replayed)


@router.get(
    "",
    operation_id="list_tenants",
    summary="List tenants, newest first",
    responses={200: {"model": TenantPage}, **problems(*LIST_PROBLEMS, Code.NOT_FOUND)},
)
async def list_tenants(
    query: Annotated[TenantsQuery, Query()], admin: AdminReader, services: ServicesDep
) -> Response:
    """Give a page of the tenants of the platform."""

    async def fetch(after: bytes | None, limit: int) -> Sequence[Tenant]:
        return await admin.services.tenants.list(
            query.of(), None if after is None else UUID(bytes=after), limit
        )

    page = await read_page(
        services.page_tokens,
        Listing(
            admin.principal.tenant_id, PATH, {"name": query.name, "plan": query.plan, "state": query.state}
        ),
        query,
        fetch=fetch,
        position=lambda tenant: tenant.id.bytes,
        body=Tenant.to_document,
    )
    return json_response(page)


@router.get(
    "/{tenant_id}",
    operation_id="get_tenant",
    summary="Read a tenant",
    responses={200: _CHANGED, **problems(Code.NOT_FOUND, Code.TENANT_NOT_FOUND)},
)
async def read(tenant_id: str, admin: AdminReader) -> Response:
    """Give a tenant, its version as the `ETag`."""
    return _answer(await admin.services.tenants.get(parse_tenant(tenant_id)))


@router.get(
    "/{tenant_id}/usage",
    operation_id="get_tenant_usage",
    summary="Read what a tenant has of its caps",
    responses={200: {"model": TenantUsageBody}, **problems(Code.NOT_FOUND, Code.TENANT_NOT_FOUND)},
)
async def usage(tenant_id: str, admin: AdminReader) -> Response:
    """Give how much a tenant stores, and how many of its jobs run and wait."""
    return json_response((await admin.services.tenants.usage(parse_tenant(tenant_id))).to_document())


@router.patch(
    "/{tenant_id}",
    operation_id="change_tenant",
    summary="Change a tenant's plan, weight or limits",
    responses={
        200: _CHANGED,
        **problems(
            *BODY_PROBLEMS,
            Code.INVALID_PARAMETER,
            Code.NOT_FOUND,
            Code.TENANT_NOT_FOUND,
            Code.PRECONDITION_FAILED,
        ),
    },
    openapi_extra=request_body(TenantPatch, media_types=MERGE_PATCH, headers=["If-Match"]),
)
async def change(request: Request, tenant_id: str, admin: AdminWriter, services: ServicesDep) -> Response:
    """Merge a patch (RFC 7396) into a tenant; `If-Match` refuses it where the tenant was changed meanwhile."""
    wanted, seen = parse_tenant(tenant_id), _if_match(request)
    body = validate(TenantPatch, await read_json(request, services.max_body_bytes, media_types=MERGE_PATCH))
    return _answer(await admin.services.tenants.change(wanted, body.change(), admin.origin, seen=seen))


@router.post(
    "/{tenant_id}/suspend",
    operation_id="suspend_tenant",
    summary="Suspend a tenant",
    responses={
        200: _ONCE,
        **problems(
            *BODY_PROBLEMS,
            *_REPEAT_PROBLEMS,
            Code.NOT_FOUND,
            Code.TENANT_NOT_FOUND,
            Code.OPERATOR_TENANT,
        ),
    },
    openapi_extra=request_body(SuspensionRequest, key=False),
)
async def suspend(request: Request, tenant_id: str, admin: AdminWriter, services: ServicesDep) -> Response:
    """Refuse every request of the tenant's keys, and let its jobs wait; what runs goes on.

    Repeatable; with an `Idempotency-Key` a late repetition does not undo what was done since.
    """
    wanted = parse_tenant(tenant_id)
    value = await read_json(request, services.max_body_bytes)
    body = validate(SuspensionRequest, value)
    once = request_key(request, admin.principal, value)
    return await _once(admin, admin.services.tenants.suspend(wanted, body.reason, admin.origin, once))


@router.post(
    "/{tenant_id}/resume",
    operation_id="resume_tenant",
    summary="Lift the suspension of a tenant",
    responses={200: _ONCE, **problems(*_REPEAT_PROBLEMS, Code.NOT_FOUND, Code.TENANT_NOT_FOUND)},
    openapi_extra=request_body(None, key=False),
)
async def resume(request: Request, tenant_id: str, admin: AdminWriter) -> Response:
    """Take the tenant's keys again, and let its jobs run; repeatable as suspending is."""
    wanted, once = parse_tenant(tenant_id), request_key(request, admin.principal)
    return await _once(admin, admin.services.tenants.resume(wanted, admin.origin, once))


def parse_tenant(text: str) -> UUID:
    """Read the id of a tenant in a path.

    Raises:
        TenantNotFoundError: it is none.

    """
    tenant = from_public(TENANT_PREFIX, text)
    if tenant is None:
        raise TenantNotFoundError
    return tenant


async def _once(admin: Admin, change: Awaitable[Tenant]) -> Response:
    """Answer with a tenant that was changed; as it stands where an earlier request did that."""
    try:
        return _answer(await change)
    except RepeatedRequestError as repeated:
        return _answer(await admin.services.tenants.get(repeated.made), headers=REPLAYED)


def _answer(tenant: Tenant, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    tag = {"ETag": f'"{tenant.version}"', "Cache-Control": "private, no-cache"}
    return json_response(tenant.to_document(), status, tag | (headers or {}))


def _if_match(request: Request) -> frozenset[int] | None:
    """Give the versions that `If-Match` names (RFC 9110, 13.1.1: weak tags match nothing); None where any will do."""
    values = request.headers.getlist("if-match")
    text = ", ".join(values)
    if not values or text.strip() == "*":
        return None
    if not _TAGS.fullmatch(text):
        detail = 'send the ETag of the tenant as it came, in quotes, or "*" without quotes'
        raise ProblemError(Code.INVALID_PARAMETER, detail, [Fault("malformed", detail, parameter="If-Match")])
    return frozenset(int(version) for version in _OUR_TAG.findall(text))
