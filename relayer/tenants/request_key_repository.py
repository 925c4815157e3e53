"""All SQL of idempotency keys that stand for requests of keys and tenants."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What makes a request repeatable: whose it is, its operation, its key, and the SHA-256 of what it asks for."""

    tenant_id: UUID
    route: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The request that a key stands for: the SHA-256 of what it asked for, and what it made or changed."""

    fingerprint: bytes
    made_id: UUID


async def insert(
    conn: Connection, request: RequestKey, made_id: UUID, at: datetime, expires_at: datetime
) -> bool:
    """Take a key, as new where its time is over; False where it stands for an earlier request, whose end is waited for."""
    cursor = await conn.execute(
        """INSERT INTO idempotency_keys AS k (tenant_id, route, key, fingerprint, made_id, created_at, expires_at)
           VALUES (%(tenant)s, %(route)s, %(key)s, %(fingerprint)s, %(made)s, %(at)s, %(expires_at)s)
           ON CONFLICT (tenant_id, route, key) DO UPDATE SET
               fingerprint = excluded.fingerprint, made_id = excluded.made_id,
               created_at = excluded.created_at, expires_at = excluded.expires_at
           WHERE k.expires_at <= excluded.created_at""",
        {
            "tenant": request.tenant_id,
            "route": request.route,
            "key": request.key,
            "fingerprint": request.fingerprint,
            "made": made_id,
            "at": at,
            "expires_at": expires_at,
        },
    )
    return cursor.rowcount == 1


async def find(conn: Connection, request: RequestKey) -> Claim | None:
    """What the key of a request stands for."""
    async with conn.cursor(row_factory=class_row(Claim)) as cursor:
        await cursor.execute(
            "SELECT fingerprint, made_id FROM idempotency_keys WHERE tenant_id = %s AND route = %s AND key = %s",
            [request.tenant_id, request.route, request.key],
        )
        return await cursor.fetchone()
