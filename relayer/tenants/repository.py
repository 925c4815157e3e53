"""All SQL of tenants."""

from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

Connection = AsyncConnection[TupleRow]


async def insert_tenant(
    conn: Connection, tenant_id: UUID, name: str, at: datetime, *, is_operator: bool
) -> bool:
    """Add a tenant; False where its name is taken."""
    cursor = await conn.execute(
        "INSERT INTO tenants (id, name, created_at, is_operator) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (name) DO NOTHING",
        (tenant_id, name, at, is_operator),
    )
    return cursor.rowcount == 1


async def find_tenant(conn: Connection, name: str) -> UUID | None:
    """The id of the tenant of this name."""
    cursor = await conn.execute("SELECT id FROM tenants WHERE name = %s", (name,))
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def tenant_is_operator(conn: Connection, tenant_id: UUID) -> bool | None:
    """Whether a tenant is the platform's own; None where there is no such tenant."""
    cursor = await conn.execute("SELECT is_operator FROM tenants WHERE id = %s", (tenant_id,))
    row = await cursor.fetchone()
    return None if row is None else row[0]
