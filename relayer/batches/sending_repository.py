"""All SQL by which the sender's source moves batches."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.batches.reasons import HoldReason

_TAKE = """
UPDATE batches b SET state = 'sending', reason = NULL, detail = NULL, retry_at = NULL
WHERE b.id = %(batch)s AND (b.state = 'sealed' OR (b.state IN ('held', 'sending') AND b.retry_at <= %(at)s))
  AND NOT EXISTS (SELECT 1 FROM chain_txs t WHERE t.batch_id = b.id
                  AND t.state IN ('reserved', 'signed', 'broadcast', 'included'))
"""


_OLDEST = """
SELECT min(sealed_at) FROM batches WHERE registry_id = %s AND state NOT IN ('final', 'released')
"""


@dataclass(frozen=True)
class Standing:
    """Where a batch stands and why; `retry_at` says from when on it is tried again."""

    state: str
    reason: str | None
    retry_at: datetime | None


async def lock_standing(conn: AsyncConnection[TupleRow], batch_id: UUID) -> Standing:
    """Lock a batch and say where it stands."""
    async with conn.cursor(row_factory=class_row(Standing)) as cursor:
        await cursor.execute(
            "SELECT state, reason, retry_at FROM batches WHERE id = %s FOR UPDATE", [batch_id]
        )
        standing = await cursor.fetchone()
    assert standing is not None
    return standing


async def take(conn: AsyncConnection[TupleRow], batch_id: UUID, at: datetime) -> bool:
    """Let a batch that waits for a nonce have one; False if it does not wait any more."""
    cursor = await conn.execute(_TAKE, {"batch": batch_id, "at": at})
    return cursor.rowcount == 1


async def hold_sealed(
    conn: AsyncConnection[TupleRow], registry_id: int, reason: HoldReason, detail: str, retry_at: datetime
) -> list[UUID]:
    """Keep what waits for a nonce back until a time; give what was not held before."""
    cursor = await conn.execute(
        """UPDATE batches SET state = 'held', reason = %s, detail = %s, retry_at = %s
           WHERE registry_id = %s AND state = 'sealed' RETURNING id""",
        [reason, detail, retry_at, registry_id],
    )
    return [batch_id for (batch_id,) in await cursor.fetchall()]


async def set_sealed(conn: AsyncConnection[TupleRow], batch_id: UUID) -> None:
    """Let a batch wait for a nonce again."""
    await conn.execute(
        """UPDATE batches SET state = 'sealed', reason = NULL, detail = NULL, retry_at = NULL
           WHERE id = %s AND state NOT IN ('final', 'released')""",
        [batch_id],
    )


async def oldest(conn: AsyncConnection[TupleRow], registry_id: int) -> datetime | None:
    """Give when the oldest batch that is not settled was sealed."""
    cursor = await conn.execute(_OLDEST, [registry_id])
    row = await cursor.fetchone()
    return None if row is None else row[0]
