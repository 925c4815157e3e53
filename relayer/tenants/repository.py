"""What a key's tenant allows it."""

from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

Connection = AsyncConnection[TupleRow]


async def tenant_is_operator(conn: Connection, tenant_id: UUID) -> bool | None:
    """Whether a tenant is the platform's own; None where there is no such tenant."""
    cursor = await conn.execute("SELECT is_operator FROM tenants WHERE id = %s", (tenant_id,))
    row = await cursor.fetchone()
    return None if row is None else row[0]
