"""Audit events as JSON."""

import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, StringConstraints
from pydantic_core import PydanticCustomError

from api.fields import Instant, no_nul
from api.pagination import PageQuery
from relayer.model.ids import from_public
from relayer.tenants.audit import ActorType
from relayer.tenants.audit_chain import TENANT_PREFIX
from relayer.tenants.audit_repository import AuditFilter, AuditRow

PLATFORM = "platform"


def _tenant_or_platform(text: str) -> str:
    if text != PLATFORM and from_public(TENANT_PREFIX, text) is None:
        raise PydanticCustomError("tenant", "give the id of a tenant, tnt_…, or 'platform'")
    return text


class AuditQuery(PageQuery):
    """Which events: those to which everything that is given applies; both times are included."""

    action: Annotated[str, StringConstraints(pattern=r"^[a-z_]+(\.[a-z_]+)*$", max_length=64)] | None = None
    target: Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(no_nul)] | None = (
        None
    )
    occurred_from: Instant | None = None
    occurred_to: Instant | None = None

    def of(self, tenant: UUID | None, *, platform: bool = False) -> AuditFilter:
        """Give the filter over a tenant's events; over all where there is none."""
        return AuditFilter(tenant, platform, self.action, self.target, self.occurred_from, self.occurred_to)

    def filters(self) -> dict[str, str | None]:
        """The filters as a page token is bound to them."""
        return {
            "action": self.action,
            "target": self.target,
            "occurred_from": None if self.occurred_from is None else self.occurred_from.isoformat(),
            "occurred_to": None if self.occurred_to is None else self.occurred_to.isoformat(),
        }


class AdminAuditQuery(AuditQuery):
    """Which events of the platform; `tenant`: a tenant's id, or `platform` for what concerns none."""

    tenant: Annotated[str, AfterValidator(_tenant_or_platform)] | None = None

    def filter(self) -> AuditFilter:
        """Give the filter over all events."""
        platform = self.tenant == PLATFORM
        tenant = None if self.tenant is None or platform else from_public(TENANT_PREFIX, self.tenant)
        return self.of(tenant, platform=platform)

    def filters(self) -> dict[str, str | None]:
        """The filters as a page token is bound to them."""
        return super().filters() | {"tenant": self.tenant}


class ActorBody(BaseModel):
    """Who acted; without id and name where it was the platform and a tenant asks."""

    type: str
    id: str | None
    name: str | None


class TargetBody(BaseModel):
    """What was acted on."""

    type: str
    id: str
    name: str | None


class ContextBody(BaseModel):
    """From where; empty where it was the platform and a tenant asks."""

    address: str | None
    user_agent: str | None
    request_id: str | None


class AuditEventBody(BaseModel):
    """An audit event in its place in the chain of its tenant.

    Without `redacted`, `seq`, `hash` and `previous_hash` it is the event, and `hash` is the SHA-256 of `previous_hash`
    (32 zero bytes for the first) and the event's canonical JSON (RFC 8785).
    """

    seq: int
    hash: str
    previous_hash: str | None
    redacted: bool
    id: str
    version: int
    tenant_id: str | None
    action: str
    outcome: str
    occurred_at: datetime
    actor: ActorBody
    targets: list[TargetBody]
    context: ContextBody
    before_hash: str | None
    after_hash: str | None
    metadata: dict[str, Any]


class AuditPage(BaseModel):
    """A page of audit events; the list ends where `next_page_token` is absent."""

    data: list[AuditEventBody]
    next_page_token: str | None = None


def audit_body(row: AuditRow) -> dict[str, Any]:
    """Write an event as `AuditEventBody` describes it, all of it."""
    return {
        "seq": row.seq,
        "hash": _hex(row.hash),
        "previous_hash": None if row.previous_hash is None else _hex(row.previous_hash),
        "redacted": False,
        **json.loads(row.event),
    }


def tenants_audit_body(row: AuditRow) -> dict[str, Any]:
    """Write an event for its tenant, to whom it is no matter which of the platform's people and machines acted."""
    body = audit_body(row)
    if not ActorType(body["actor"]["type"]).is_of_the_platform:
        return body
    return body | {
        "redacted": True,
        "actor": {"type": body["actor"]["type"], "id": None, "name": None},
        "context": {"address": None, "user_agent": None, "request_id": None},
    }


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"
