"""Leases: which process leads a loop. The epoch rises with every change of owner.

A lease is a speed-up and a fence, never the safety itself: unique nonces and compare-and-set hold even
when two processes believe that they lead. Expiry is by the clock of the database.
"""

from datetime import timedelta

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.model.errors import JobsealError

_ACQUIRE = """
INSERT INTO leases AS l (name, owner, epoch, expires_at)
VALUES (%(name)s, %(owner)s, 1, clock_timestamp() + %(ttl)s)
ON CONFLICT (name) DO UPDATE SET
    owner = excluded.owner,
    epoch = l.epoch + (l.owner <> excluded.owner)::int,
    expires_at = excluded.expires_at
WHERE l.owner = excluded.owner OR l.expires_at < clock_timestamp()
RETURNING epoch
"""


class LeaseLostError(JobsealError):
    """Another process leads this loop now; nothing was written."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the lease '{name}' went to another process")


async def acquire(conn: AsyncConnection[TupleRow], name: str, owner: str, ttl: timedelta) -> int | None:
    """Take or renew a lease.

    Returns:
        The epoch under which the owner leads; None while another owner's lease has not expired.

    """
    cursor = await conn.execute(_ACQUIRE, {"name": name, "owner": owner, "ttl": ttl})
    row = await cursor.fetchone()
    return None if row is None else int(row[0])


async def release(conn: AsyncConnection[TupleRow], name: str, owner: str) -> None:
    """Let another process lead at once."""
    await conn.execute(
        "UPDATE leases SET expires_at = '-infinity' WHERE name = %s AND owner = %s", [name, owner]
    )


async def require(conn: AsyncConnection[TupleRow], name: str, epoch: int) -> None:
    """Raise `LeaseLostError` unless an epoch still leads; it does then until the end of this transaction."""
    cursor = await conn.execute(
        "SELECT 1 FROM leases WHERE name = %s AND epoch = %s FOR SHARE", [name, epoch]
    )
    if await cursor.fetchone() is None:
        raise LeaseLostError(name)
