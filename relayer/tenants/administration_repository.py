"""All SQL of administration: tenants over the borders between them, and the caps of kinds."""

from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.tenants.plans import Limits
from relayer.tenants.records import Tenant, TenantUsage

Connection = AsyncConnection[TupleRow]

_COLUMNS: LiteralString = """id, name, plan, weight, is_operator, suspended_at, suspension_reason, version, created_at,
    submissions_per_minute, submissions_burst, reads_per_minute, reads_burst, jobs_per_day, compute_per_month,
    storage_cap, running_cap, waiting_cap"""


@dataclass(frozen=True, slots=True)
class TenantFilter:
    """Which tenants: those to which everything that is given applies; `text` is a part of the name."""

    text: str | None = None
    plan: str | None = None
    is_suspended: bool | None = None
    is_operator: bool | None = None


@dataclass(frozen=True, slots=True)
class KindCap:
    """How many attempts of a kind may run at once, over all tenants."""

    kind: str
    running_jobs: int

    def to_document(self) -> dict[str, str | int]:
        """The cap as JSON has it."""
        return {"kind": self.kind, "running_jobs": self.running_jobs}


async def insert_tenant(conn: Connection, tenant: Tenant) -> bool:
    """Add a tenant; False where its name is taken."""
    cursor = await conn.execute(
        f"""INSERT INTO tenants ({_COLUMNS})
            VALUES (%(id)s, %(name)s, %(plan)s, %(weight)s, %(is_operator)s, %(suspended_at)s, %(suspension_reason)s,
                    %(version)s, %(created_at)s, %(submissions_per_minute)s, %(submissions_burst)s,
                    %(reads_per_minute)s, %(reads_burst)s, %(jobs_per_day)s, %(compute_per_month)s,
                    %(storage_bytes)s, %(running_jobs)s, %(waiting_jobs)s)
            ON CONFLICT (name) DO NOTHING""",  # noqa: S608 - constants only
        _values(tenant),
    )
    return cursor.rowcount == 1


async def update_tenant(conn: Connection, tenant: Tenant) -> None:
    """Write all of a tenant that may change."""
    await conn.execute(
        """UPDATE tenants SET plan = %(plan)s, weight = %(weight)s, suspended_at = %(suspended_at)s,
               suspension_reason = %(suspension_reason)s, version = %(version)s,
               submissions_per_minute = %(submissions_per_minute)s, submissions_burst = %(submissions_burst)s,
               reads_per_minute = %(reads_per_minute)s, reads_burst = %(reads_burst)s,
               jobs_per_day = %(jobs_per_day)s, compute_per_month = %(compute_per_month)s,
               storage_cap = %(storage_bytes)s, running_cap = %(running_jobs)s, waiting_cap = %(waiting_jobs)s
           WHERE id = %(id)s""",
        _values(tenant),
    )


async def find_tenant(conn: Connection, tenant_id: UUID, *, for_change: bool = False) -> Tenant | None:
    """A tenant by its id; `for_change` lets others who would change it wait."""
    return await _one(conn, "WHERE id = %s" + (" FOR NO KEY UPDATE" if for_change else ""), tenant_id)


async def find_tenant_named(conn: Connection, name: str) -> Tenant | None:
    """A tenant by its name."""
    return await _one(conn, "WHERE name = %s", name)


async def list_tenants(
    conn: Connection, wanted: TenantFilter, before: UUID | None, limit: int
) -> list[Tenant]:
    """Tenants, the newest first, from behind an id."""
    cursor = await conn.execute(
        f"""SELECT {_COLUMNS} FROM tenants
            WHERE (%(text)s::text IS NULL OR strpos(name, %(text)s) > 0)
              AND (%(plan)s::text IS NULL OR plan = %(plan)s)
              AND (%(suspended)s::bool IS NULL OR (suspended_at IS NOT NULL) = %(suspended)s)
              AND (%(operator)s::bool IS NULL OR is_operator = %(operator)s)
              AND (%(before)s::uuid IS NULL OR id < %(before)s)
            ORDER BY id DESC LIMIT %(limit)s""",  # noqa: S608 - constants only
        {
            "text": wanted.text,
            "plan": wanted.plan,
            "suspended": wanted.is_suspended,
            "operator": wanted.is_operator,
            "before": before,
            "limit": limit,
        },
    )
    return [_tenant(row) for row in await cursor.fetchall()]


async def usage(conn: Connection, tenant_id: UUID) -> TenantUsage:
    """What a tenant has of what its caps count."""
    async with conn.cursor(row_factory=class_row(TenantUsage)) as cursor:
        await cursor.execute(
            """SELECT coalesce((SELECT bytes FROM tenant_storage WHERE tenant_id = %(tenant)s), 0) AS storage_bytes,
                      (SELECT count(*) FROM attempts
                       WHERE tenant_id = %(tenant)s AND state IN ('dispatched', 'running')) AS running_jobs,
                      (SELECT count(*) FROM jobs WHERE tenant_id = %(tenant)s AND state = 'created') AS waiting_jobs""",
            {"tenant": tenant_id},
        )
        found = await cursor.fetchone()
    assert found is not None
    return found


async def kind_caps(conn: Connection) -> list[KindCap]:
    """Every cap, by kind."""
    async with conn.cursor(row_factory=class_row(KindCap)) as cursor:
        await cursor.execute("SELECT kind, running_cap AS running_jobs FROM kind_caps ORDER BY kind")
        return await cursor.fetchall()


async def find_kind_cap(conn: Connection, kind: str) -> KindCap | None:
    """A kind's cap; lets others who would change it wait."""
    cursor = await conn.execute("SELECT running_cap FROM kind_caps WHERE kind = %s FOR UPDATE", [kind])
    row = await cursor.fetchone()
    return None if row is None else KindCap(kind, row[0])


async def write_kind_cap(conn: Connection, cap: KindCap) -> None:
    """Give a kind a cap, or another one."""
    await conn.execute(
        """INSERT INTO kind_caps (kind, running_cap) VALUES (%s, %s)
           ON CONFLICT (kind) DO UPDATE SET running_cap = excluded.running_cap""",
        [cap.kind, cap.running_jobs],
    )


async def delete_kind_cap(conn: Connection, kind: str) -> None:
    """Take a kind's cap away."""
    await conn.execute("DELETE FROM kind_caps WHERE kind = %s", [kind])


async def _one(conn: Connection, where: LiteralString, value: object) -> Tenant | None:
    cursor = await conn.execute(f"SELECT {_COLUMNS} FROM tenants {where}", [value])  # noqa: S608 - constants only
    row = await cursor.fetchone()
    return None if row is None else _tenant(row)


def _tenant(row: TupleRow) -> Tenant:
    id_, name, plan, weight, is_operator, suspended_at, reason, version, created_at, *limits = row
    return Tenant(
        id=id_,
        name=name,
        plan=plan,
        weight=weight,
        limits=Limits(*limits),
        is_operator=is_operator,
        suspended_at=suspended_at,
        suspension_reason=reason,
        version=version,
        created_at=created_at,
    )


def _values(tenant: Tenant) -> dict[str, object]:
    limits = {name: getattr(tenant.limits, name) for name in Limits.__slots__}
    own = {name: getattr(tenant, name) for name in Tenant.__slots__ if name != "limits"}
    return own | limits
