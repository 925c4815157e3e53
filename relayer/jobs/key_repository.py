"""The SQL of idempotency keys whose time is over."""

from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

# What a request holds at this moment is left to the next page: nobody waits for anybody here.
_FORGET = """
DELETE FROM idempotency_keys k
USING (SELECT tenant_id, route, key FROM idempotency_keys WHERE expires_at <= %s
       ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED) e
WHERE k.tenant_id = e.tenant_id AND k.route = e.route AND k.key = e.key
"""


async def forget_expired(conn: AsyncConnection[TupleRow], before: datetime, limit: int) -> int:
    """Delete up to a limit of keys that expired before a time; give how many."""
    return (await conn.execute(_FORGET, [before, limit])).rowcount
