"""Tenants as whoever administers the platform sees them, in the database and as documents."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from relayer.model.ids import to_public
from relayer.tenants.audit import Target, instant
from relayer.tenants.audit_chain import TENANT_PREFIX
from relayer.tenants.plans import PLANS, Limits


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant.

    Attributes:
        id: UUIDv7.
        name: unique, 1 to 63 of a-z, 0-9 and '-'.
        plan: whose numbers were written onto it last.
        weight: its share of the workers beside others', 1 to 100.
        limits: what it may use; where they differ from the plan's they were changed one by one.
        is_operator: it is the platform's own, and its keys may administer.
        suspended_at, suspension_reason: since when and why its keys open nothing.
        version: rises with every change, from 1.
        created_at: when it was made.

    """

    id: UUID
    name: str
    plan: str
    weight: int
    limits: Limits
    is_operator: bool
    suspended_at: datetime | None
    suspension_reason: str | None
    version: int
    created_at: datetime

    def to_document(self) -> dict[str, Any]:
        """The tenant as REST, the command line and the hashes of the audit log have it."""
        limits, planned = self.limits.to_document(), PLANS[self.plan].to_document()
        return {
            "id": to_public(TENANT_PREFIX, self.id),
            "name": self.name,
            "state": "active" if self.suspended_at is None else "suspended",
            "plan": self.plan,
            "weight": self.weight,
            "limits": limits,
            "limits_beside_plan": [name for name, value in limits.items() if value != planned[name]],
            "is_operator": self.is_operator,
            "suspended_at": instant(self.suspended_at),
            "suspension_reason": self.suspension_reason,
            "version": self.version,
            "created_at": instant(self.created_at),
        }

    def target(self) -> Target:
        """The tenant as what an audit event acts on."""
        return Target("tenant", to_public(TENANT_PREFIX, self.id), self.name)


@dataclass(frozen=True, slots=True)
class TenantUsage:
    """How much a tenant has of what its caps count, at this moment."""

    storage_bytes: int
    running_jobs: int
    waiting_jobs: int

    def to_document(self) -> dict[str, int]:
        """The numbers as JSON has them."""
        return {
            "storage_bytes": self.storage_bytes,
            "running_jobs": self.running_jobs,
            "waiting_jobs": self.waiting_jobs,
        }
