"""Administering tenants and the caps of kinds; every change stands in the audit log.

Works in the role of administration, or as the owner of the database.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from relayer.model.clock import Clock, utc_now
from relayer.model.ids import new_id
from relayer.store.database import Database
from relayer.tenants import administration_repository as repository
from relayer.tenants import audit
from relayer.tenants.administration_errors import (
    FieldError,
    KindCapNotFoundError,
    OperatorTenantError,
    StaleTenantError,
    TenantNameTakenError,
    TenantNotFoundError,
)
from relayer.tenants.administration_repository import Connection, KindCap, TenantFilter
from relayer.tenants.audit import Event, Origin, Target
from relayer.tenants.kinds import LONGEST_KIND, is_kind
from relayer.tenants.plans import DEFAULT_PLAN, PLANS
from relayer.tenants.records import Tenant, TenantUsage
from relayer.tenants.request_key_repository import RequestKey
from relayer.tenants.request_keys import claim

MAX_WEIGHT = 100
MAX_CAP = 2**31 - 1

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_LONGEST_REASON = 200
_DERIVED = {"state", "limits", "limits_beside_plan", "version"}


@dataclass(frozen=True, slots=True)
class TenantChange:
    """What to change of a tenant; what is left out stays.

    A plan brings all its numbers with it, those that were changed one by one included. `limits` are then changed by
    their names in JSON; None: as the plan has it.
    """

    plan: str | None = None
    weight: int | None = None
    limits: Mapping[str, int | None] = field(default_factory=dict)


class Administration:
    """Makes, finds, changes and suspends tenants, and caps kinds.

    `request` makes what takes it repeatable: once more ends with `RepeatedRequestError`, which names the tenant.
    """

    def __init__(self, db: Database, clock: Clock = utc_now) -> None:
        self._db = db
        self._clock = clock

    async def create(
        self,
        name: str,
        origin: Origin,
        wanted: TenantChange | None = None,
        *,
        is_operator: bool = False,
        request: RequestKey | None = None,
    ) -> Tenant:
        """Add a tenant, with the plan `standard` where nothing else is said; `is_operator`: it is the platform's own.

        Raises:
            FieldError: a value is out of range.
            TenantNameTakenError: another tenant has the name.

        """
        if not _NAME.fullmatch(name):
            raise FieldError(
                "name", "a tenant name has 1 to 63 of a-z, 0-9 and '-', and does not begin with '-'"
            )
        wanted = wanted or TenantChange()
        now = self._clock()
        plan = DEFAULT_PLAN if wanted.plan is None else wanted.plan
        bare = Tenant(
            id=new_id(),
            name=name,
            plan=DEFAULT_PLAN,
            weight=1,
            limits=PLANS[DEFAULT_PLAN],
            is_operator=is_operator,
            suspended_at=None,
            suspension_reason=None,
            version=1,
            created_at=now,
        )
        tenant = _changed(bare, replace(wanted, plan=plan))
        async with self._db.transaction() as conn:
            await claim(conn, request, tenant.id, now)
            if not await repository.insert_tenant(conn, tenant):
                other = await repository.find_tenant_named(conn, name)
                assert other is not None
                raise TenantNameTakenError(name, other.id)
            await self._record(conn, "tenant.created", None, tenant, origin)
        return tenant

    async def get(self, tenant_id: UUID) -> Tenant:
        """Give a tenant.

        Raises:
            TenantNotFoundError: there is none with this id.

        """
        async with self._db.statement() as conn:
            return _found(await repository.find_tenant(conn, tenant_id))

    async def find(self, name: str) -> Tenant | None:
        """Give the tenant of a name."""
        async with self._db.statement() as conn:
            return await repository.find_tenant_named(conn, name)

    async def list(self, wanted: TenantFilter, before: UUID | None, limit: int) -> Sequence[Tenant]:
        """Give up to `limit` tenants, the newest first, from behind an id."""
        async with self._db.statement() as conn:
            return await repository.list_tenants(conn, wanted, before, limit)

    async def usage(self, tenant_id: UUID) -> TenantUsage:
        """Give what a tenant has of what its caps count.

        Raises:
            TenantNotFoundError: there is none with this id.

        """
        async with self._db.statement() as conn:
            _found(await repository.find_tenant(conn, tenant_id))
            return await repository.usage(conn, tenant_id)

    async def change(
        self, tenant_id: UUID, change: TenantChange, origin: Origin, *, seen: Collection[int] | None = None
    ) -> Tenant:
        """Change a tenant's plan, weight or limits; what is so already is no change.

        `seen` are versions that whoever asks has seen, any of which will do.

        Raises:
            TenantNotFoundError: there is none with this id.
            StaleTenantError: it was changed since it was seen.
            FieldError: a value is out of range.

        """
        async with self._db.transaction() as conn:
            before = _found(await repository.find_tenant(conn, tenant_id, for_change=True))
            if seen is not None and before.version not in seen:
                raise StaleTenantError(before.version)
            return await self._write(conn, "tenant.changed", before, _changed(before, change), origin)

    async def suspend(
        self, tenant_id: UUID, reason: str, origin: Origin, request: RequestKey | None = None
    ) -> Tenant:
        """Let the keys of a tenant open nothing, and its jobs wait; what runs goes on. Once more changes nothing.

        Raises:
            TenantNotFoundError: there is none with this id.
            OperatorTenantError: it is the platform's own.
            FieldError: the reason is empty or too long.

        """
        if not (0 < len(reason) <= _LONGEST_REASON and reason.isprintable()):
            raise FieldError("reason", f"say why, in 1 to {_LONGEST_REASON} printable characters")
        async with self._db.transaction() as conn:
            await claim(conn, request, tenant_id, self._clock())
            before = _found(await repository.find_tenant(conn, tenant_id, for_change=True))
            if before.is_operator:
                raise OperatorTenantError
            if before.suspended_at is not None:
                return before
            after = replace(before, suspended_at=self._clock(), suspension_reason=reason)
            return await self._write(conn, "tenant.suspended", before, after, origin)

    async def resume(self, tenant_id: UUID, origin: Origin, request: RequestKey | None = None) -> Tenant:
        """Lift a suspension; where there is none nothing changes.

        Raises:
            TenantNotFoundError: there is none with this id.

        """
        async with self._db.transaction() as conn:
            await claim(conn, request, tenant_id, self._clock())
            before = _found(await repository.find_tenant(conn, tenant_id, for_change=True))
            after = replace(before, suspended_at=None, suspension_reason=None)
            return await self._write(conn, "tenant.resumed", before, after, origin)

    async def kind_caps(self) -> Sequence[KindCap]:
        """Give the caps of all kinds that have one."""
        async with self._db.statement() as conn:
            return await repository.kind_caps(conn)

    async def set_kind_cap(self, kind: str, running_jobs: int, origin: Origin) -> KindCap:
        """Let no more attempts of a kind run at once, over all tenants; 0 lets none begin.

        Raises:
            FieldError: a value is out of range.

        """
        if not is_kind(kind):
            raise FieldError("kind", f"give 1 to {LONGEST_KIND} printable characters")
        if not 0 <= running_jobs <= MAX_CAP:
            raise FieldError("running_jobs", f"give a number from 0 to {MAX_CAP}")
        cap = KindCap(kind, running_jobs)
        async with self._db.transaction() as conn:
            before = await repository.find_kind_cap(conn, kind)
            if before != cap:
                await repository.write_kind_cap(conn, cap)
                await self._record_cap(conn, "kind_cap.set", before, cap, origin)
        return cap

    async def clear_kind_cap(self, kind: str, origin: Origin) -> None:
        """Take the cap of a kind away.

        Raises:
            KindCapNotFoundError: it has none.

        """
        if not is_kind(kind):
            raise KindCapNotFoundError(kind)
        async with self._db.transaction() as conn:
            before = await repository.find_kind_cap(conn, kind)
            if before is None:
                raise KindCapNotFoundError(kind)
            await repository.delete_kind_cap(conn, kind)
            await self._record_cap(conn, "kind_cap.cleared", before, None, origin)

    async def _write(
        self, conn: Connection, action: str, before: Tenant, after: Tenant, origin: Origin
    ) -> Tenant:
        if after == before:
            return before
        after = replace(after, version=before.version + 1)
        await repository.update_tenant(conn, after)
        await self._record(conn, action, before, after, origin)
        return after

    async def _record(
        self, conn: Connection, action: str, before: Tenant | None, after: Tenant, origin: Origin
    ) -> None:
        old = None if before is None else before.to_document()
        new = after.to_document()
        event = Event(
            tenant_id=after.id,
            action=action,
            origin=origin,
            occurred_at=self._clock(),
            targets=(after.target(),),
            before_hash=audit.fingerprint(old),
            after_hash=audit.fingerprint(new),
            metadata={} if old is None else {"changed": _differences(old, new)},
        )
        await audit.record(conn, event)

    async def _record_cap(
        self, conn: Connection, action: str, before: KindCap | None, after: KindCap | None, origin: Origin
    ) -> None:
        cap = after or before
        assert cap is not None
        event = Event(
            tenant_id=None,
            action=action,
            origin=origin,
            occurred_at=self._clock(),
            targets=(Target("kind", cap.kind),),
            before_hash=audit.fingerprint(None if before is None else before.to_document()),
            after_hash=audit.fingerprint(None if after is None else after.to_document()),
        )
        await audit.record(conn, event)


def _found(tenant: Tenant | None) -> Tenant:
    if tenant is None:
        raise TenantNotFoundError
    return tenant


def _changed(tenant: Tenant, change: TenantChange) -> Tenant:
    if change.plan is not None:
        if change.plan not in PLANS:
            raise FieldError("plan", f"there is no such plan; choose of {', '.join(PLANS)}")
        tenant = replace(tenant, plan=change.plan, limits=PLANS[change.plan])
    if change.weight is not None:
        if not 1 <= change.weight <= MAX_WEIGHT:
            raise FieldError("weight", f"give a number from 1 to {MAX_WEIGHT}")
        tenant = replace(tenant, weight=change.weight)
    return replace(tenant, limits=tenant.limits.changed(tenant.plan, change.limits))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Sequence[str]:
    """Name what was changed; not what follows from it."""
    differing = [name for name in old if old[name] != new[name] and name not in _DERIVED]
    limits = [f"limits.{name}" for name, value in old["limits"].items() if value != new["limits"][name]]
    return sorted(differing + limits)
