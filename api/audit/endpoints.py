"""The REST surface of the audit log."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from api.admin.access import AdminReader
from api.audit.schemas import AdminAuditQuery, AuditPage, AuditQuery, audit_body, tenants_audit_body
from api.auth import AuditReader
from api.bodies import json_response
from api.errors import Code
from api.pagination import LIST_PROBLEMS, Listing, PageTokens, read_page
from api.schemas import problems
from api.services import ServicesDep
from relayer.tenants.audit_log import AuditLog
from relayer.tenants.audit_repository import AuditFilter, AuditRow

router = APIRouter(tags=["audit"])


@router.get(
    "/v1/audit-events",
    operation_id="list_audit_events",
    summary="List the tenant's audit events, newest first",
    responses={200: {"model": AuditPage}, **problems(*LIST_PROBLEMS)},
)
async def list_audit_events(
    query: Annotated[AuditQuery, Query()], principal: AuditReader, services: ServicesDep
) -> Response:
    """Give a page of what was changed of the tenant, by its own keys or by the platform's operator."""
    listing = Listing(principal.tenant_id, "/v1/audit-events", query.filters())
    wanted = query.of(principal.tenant_id)
    return await _page(
        services.page_tokens, services.audit, wanted, listing=listing, query=query, body=tenants_audit_body
    )


@router.get(
    "/v1/admin/audit-events",
    operation_id="list_all_audit_events",
    summary="List audit events of all tenants, newest first",
    responses={200: {"model": AuditPage}, **problems(*LIST_PROBLEMS, Code.NOT_FOUND)},
)
async def list_all_audit_events(
    query: Annotated[AdminAuditQuery, Query()], admin: AdminReader, services: ServicesDep
) -> Response:
    """Give a page of what was changed of any tenant, and of what concerns none."""
    listing = Listing(admin.principal.tenant_id, "/v1/admin/audit-events", query.filters())
    return await _page(
        services.page_tokens,
        admin.services.audit,
        query.filter(),
        listing=listing,
        query=query,
        body=audit_body,
    )


async def _page(
    tokens: PageTokens,
    log: AuditLog,
    wanted: AuditFilter,
    *,
    listing: Listing,
    query: AuditQuery,
    body: Callable[[AuditRow], dict[str, Any]],
) -> Response:
    async def fetch(after: bytes | None, limit: int) -> Sequence[AuditRow]:
        return await log.list(wanted, None if after is None else UUID(bytes=after), limit)

    page = await read_page(tokens, listing, query, fetch=fetch, position=lambda row: row.id.bytes, body=body)
    return json_response(page)
