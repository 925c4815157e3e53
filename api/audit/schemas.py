"""Audit events as JSON."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError

from api.fields import Instant, no_nul
from api.pagination import NextPageToken, PageQuery
from relayer.model.ids import from_public
from relayer.tenants.audit import ActorType
from relayer.tenants.audit_chain import TENANT_PREFIX
from relayer.tenants.audit_repository import AuditFilter, AuditRow

PLATFORM = "platform"

_EXAMPLE: dict[str, Any] = {
    "seq": 2,
    "hash": f"0x{'5c' * 32}",
    "previous_hash": f"0x{'7a' * 32}",
    "redacted": False,
    "id": "aud_01970000-0000-7000-8000-000000000002",
    "version": 1,
    "tenant_id": "tnt_01970000-0000-7000-8000-000000000000",
    "action": "api_key.created",
    "outcome": "success",
    "occurred_at": "2030-01-31T12:00:00.000000Z",
    "actor": {"type": "api_key", "id": "key_01970000-0000-7000-8000-000000000001", "name": "build server"},
    "targets": [{"type": "api_key", "id": "key_01970000-0000-7000-8000-000000000003", "name": "reader"}],
    "context": {
        "address": "203.0.113.7",
        "user_agent": "curl/8.9.1",
        "request_id": "req_01970000-0000-7000-8000-000000000004",
    },
    "before_hash": None,
    "after_hash": f"sha256:{'3e' * 32}",
    "metadata": {"scopes": ["jobs:read"], "mode": "live", "expires_at": "2030-05-01T12:00:00.000000Z"},
}


def _tenant_or_platform(text: str) -> str:
    if text != PLATFORM and from_public(TENANT_PREFIX, text) is None:
        raise PydanticCustomError("tenant", "give the id of a tenant, tnt_…, or 'platform'")
    return text


class AuditQuery(PageQuery):
    """Which events: those to which everything that is given applies; both times are included."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    action: Annotated[str, StringConstraints(pattern=r"^[a-z_]+(\.[a-z_]+)*$", max_length=64)] | None = None
    """Those of this action: `api_key.created`."""
    target: Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(no_nul)] | None = (
        None
    )
    """Those that acted on what has this id, or is the kind of this name."""
    occurred_from: Instant | None = None
    """Those that happened then or later."""
    occurred_to: Instant | None = None
    """Those that happened then or before."""

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
    """Which events of the platform."""

    tenant: Annotated[str, AfterValidator(_tenant_or_platform)] | None = None
    """Those of the tenant with this id, or with `platform` those that concern none."""

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

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra={"examples": [_EXAMPLE]})

    seq: int
    """Its number in the chain, from 1."""
    hash: str
    """`0x` and 64 hex digits."""
    previous_hash: str | None
    """The hash of the event before it; null for the first."""
    redacted: bool
    """Whether `actor` and `context` are not shown, so that the hash cannot be computed from what is."""
    id: str
    """`aud_` and a UUIDv7."""
    version: int
    """Of the form of the event."""
    tenant_id: str | None
    """Whose chain it is in; null for the platform's own."""
    action: str
    """What was done."""
    outcome: Literal["success", "denied", "failure"]
    """How it ended."""
    occurred_at: datetime
    """When it was done."""
    actor: ActorBody
    """Who did it."""
    targets: list[TargetBody]
    """What it was done to."""
    context: ContextBody
    """From where it was asked for."""
    before_hash: str | None
    """`sha256:` and 64 hex digits, of the canonical JSON of the first target before; null where it was not there."""
    after_hash: str | None
    """The same, after."""
    metadata: dict[str, Any]
    """What belongs to the action."""


class AuditPage(BaseModel):
    """A page of audit events; the list ends where `next_page_token` is absent."""

    data: list[AuditEventBody]
    next_page_token: NextPageToken = None


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
