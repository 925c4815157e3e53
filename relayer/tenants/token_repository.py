"""All SQL of revoked access tokens."""

from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.tenants.token_claims import TokenClaims

Connection = AsyncConnection[TupleRow]


async def revoke(conn: Connection, token: TokenClaims, at: datetime) -> bool:
    """End a token; False where it was ended before."""
    cursor = await conn.execute(
        "INSERT INTO revoked_tokens (jti, tenant_id, key_id, expires_at, revoked_at) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (token.jti, token.tenant_id, token.key_id, token.expires_at, at),
    )
    return cursor.rowcount == 1


async def live(conn: Connection, at: datetime) -> dict[UUID, datetime]:
    """Revoked tokens of every tenant that would be good at a time, with their ends; by a function of the owner."""
    cursor = await conn.execute("SELECT jti, expires_at FROM live_revoked_tokens(%s)", (at,))
    return dict(await cursor.fetchall())


async def forget_expired(conn: Connection, before: datetime, limit: int) -> int:
    """Delete up to a limit of tokens that ended before a time by themselves; give how many."""
    cursor = await conn.execute(
        "DELETE FROM revoked_tokens WHERE jti IN"
        " (SELECT jti FROM revoked_tokens WHERE expires_at <= %s ORDER BY expires_at LIMIT %s)",
        (before, limit),
    )
    return cursor.rowcount
