"""All SQL of the audit log."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.tenants.audit_chain import GENESIS, Head, Link

Connection = AsyncConnection[TupleRow]

# Stands for the platform itself, so that its chain has a key like every other.
_PLATFORM = UUID(int=0)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events: those to which everything that is given applies; both times are included.

    `platform`: only what concerns no tenant. `target`: the public id of one of the targets.
    """

    tenant_id: UUID | None = None
    platform: bool = False
    action: str | None = None
    target: str | None = None
    occurred_from: datetime | None = None
    occurred_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An event in its place; `previous_hash` is None for the first of a chain."""

    seq: int
    event: str
    hash: bytes
    id: UUID
    previous_hash: bytes | None


async def insert(conn: Connection, tenant: UUID | None, event: str) -> None:
    """Append an event; the database gives it its number and its hash."""
    await conn.execute(
        "INSERT INTO audit_events (tenant_id, event) VALUES (%s, %s)", [tenant or _PLATFORM, event]
    )


async def head(conn: Connection, tenant: UUID | None) -> tuple[Head, int]:
    """Where a tenant's chain ends, and the number of the last event that there is: the same, unless rows were lost."""
    cursor = await conn.execute(
        """SELECT h.seq, h.hash, (SELECT coalesce(max(seq), 0) FROM audit_events WHERE tenant_id = %(tenant)s)
           FROM (SELECT) AS one LEFT JOIN audit_heads h ON h.tenant_id = %(tenant)s""",
        {"tenant": tenant or _PLATFORM},
    )
    row = await cursor.fetchone()
    assert row is not None
    return GENESIS if row[0] is None else Head(row[0], row[1]), row[2]


async def links(conn: Connection, tenant: UUID | None, after: int, up_to: int, limit: int) -> list[Link]:
    """A stretch of a tenant's chain in its order, behind a number and up to another one."""
    cursor = await conn.execute(
        """SELECT seq, event, hash FROM audit_events
           WHERE tenant_id = %s AND seq > %s AND seq <= %s ORDER BY seq LIMIT %s""",
        [tenant or _PLATFORM, after, up_to, limit],
    )
    return [Link(*row) for row in await cursor.fetchall()]


async def listed(conn: Connection, wanted: AuditFilter, before: UUID | None, limit: int) -> list[AuditRow]:
    """Events, the newest first, from behind an id."""
    async with conn.cursor(row_factory=class_row(AuditRow)) as cursor:
        await cursor.execute(
            """SELECT e.seq, e.event, e.hash, e.id, p.hash AS previous_hash
               FROM audit_events e
               LEFT JOIN audit_events p ON p.tenant_id = e.tenant_id AND p.seq = e.seq - 1
               WHERE (%(tenant)s::uuid IS NULL OR e.tenant_id = %(tenant)s)
                 AND (%(action)s::text IS NULL OR e.action = %(action)s)
                 AND (%(target)s::text IS NULL OR e.event::jsonb -> 'targets'
                      @> jsonb_build_array(jsonb_build_object('id', %(target)s::text)))
                 AND (%(from)s::timestamptz IS NULL OR e.occurred_at >= %(from)s)
                 AND (%(to)s::timestamptz IS NULL OR e.occurred_at <= %(to)s)
                 AND (%(before)s::uuid IS NULL OR e.id < %(before)s)
               ORDER BY e.id DESC LIMIT %(limit)s""",
            {
                "tenant": _PLATFORM if wanted.platform else wanted.tenant_id,
                "action": wanted.action,
                "target": wanted.target,
                "from": wanted.occurred_from,
                "to": wanted.occurred_to,
                "before": before,
                "limit": limit,
            },
        )
        return await cursor.fetchall()


async def tenants(conn: Connection) -> list[UUID | None]:
    """Whose chains there are, the platform's own first."""
    cursor = await conn.execute(
        "SELECT tenant_id FROM audit_heads UNION SELECT tenant_id FROM audit_events ORDER BY 1"
    )
    return [None if row[0] == _PLATFORM else row[0] for row in await cursor.fetchall()]
