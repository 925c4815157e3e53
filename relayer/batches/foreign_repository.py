"""All SQL of what others confirmed on the same registry."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches.reasons import HumanReason
from relayer.chain.calls import FinalEvent
from relayer.chain.registry import BatchConfirmed

_INSERT = """
INSERT INTO external_batches (registry_id, root, submitter, lane, jobs, transaction_hash, block_number, block_hash,
                              confirmed_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""

_TICKETS = """
SELECT j.ticket, j.id FROM unnest(%s::bigint[]) w (index)
JOIN jobs j ON j.registry_id = %s AND j.ticket BETWEEN w.index << 8 AND (w.index << 8) + 255
ORDER BY j.ticket
"""

_HOLD = """
UPDATE batches b SET state = 'needs_human', reason = %(reason)s, detail = %(detail)s, retry_at = NULL
WHERE b.registry_id = %(registry)s AND b.state NOT IN ('final', 'released', 'needs_human')
  AND EXISTS (SELECT 1 FROM batch_leaves l WHERE l.batch_id = b.id AND l.ticket = ANY(%(tickets)s))
RETURNING b.id
"""


async def registry_id(conn: AsyncConnection[TupleRow], chain_id: int, address: bytes) -> int | None:
    """Give the number of a registry."""
    cursor = await conn.execute(
        "SELECT id FROM registries WHERE chain_id = %s AND address = %s", [chain_id, address]
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def insert_external(
    conn: AsyncConnection[TupleRow], registry: int, event: FinalEvent, batch: BatchConfirmed
) -> bool:
    """Keep a batch of somebody else with its words; False where it is kept already."""
    cursor = await conn.execute(
        _INSERT,
        [
            registry,
            batch.root,
            batch.submitter,
            batch.lane,
            batch.jobs,
            event.transaction_hash,
            event.block_number,
            event.block_hash,
            event.block_time,
        ],
    )
    if cursor.rowcount == 0:
        return False
    async with (
        conn.cursor() as writer,
        writer.copy("COPY external_words (registry_id, root, index, mask, word_root) FROM STDIN") as copy,
    ):
        for word in batch.words:
            await copy.write_row((registry, batch.root, word.index, word.mask.to_bytes(32), word.root))
    return True


async def is_of_our_own(
    conn: AsyncConnection[TupleRow], registry: int, root: bytes, submitter: bytes
) -> bool:
    """Whether this platform has sealed such a batch, or has sent transactions from the account that confirmed it."""
    cursor = await conn.execute(
        """SELECT EXISTS (SELECT FROM batches WHERE registry_id = %(registry)s AND root = %(root)s)
               OR EXISTS (SELECT FROM chain_txs t JOIN registries r USING (chain_id)
                          WHERE r.id = %(registry)s AND t.sender = %(submitter)s)""",
        {"registry": registry, "root": root, "submitter": submitter},
    )
    row = await cursor.fetchone()
    assert row is not None
    return bool(row[0])


async def jobs_in_words(
    conn: AsyncConnection[TupleRow], registry: int, indexes: Sequence[int]
) -> list[tuple[int, UUID]]:
    """Give the tickets of our jobs in these words, each with its job."""
    cursor = await conn.execute(_TICKETS, [list(indexes), registry])
    return [(ticket, job_id) for ticket, job_id in await cursor.fetchall()]


async def insert_burnt(
    conn: AsyncConnection[TupleRow],
    registry: int,
    root: bytes,
    burnt: Sequence[tuple[int, UUID]],
    at: datetime,
) -> None:
    """Note which tickets of ours were spent under somebody else's root."""
    async with conn.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO burnt_tickets (registry_id, ticket, root, job_id, noticed_at) VALUES (%s, %s, %s, %s, %s) "
            "ON CONFLICT DO NOTHING",
            [(registry, ticket, root, job_id, at) for ticket, job_id in burnt],
        )


async def stop_batches_with(
    conn: AsyncConnection[TupleRow], registry: int, tickets: Sequence[int], detail: str
) -> list[UUID]:
    """Stop every batch that holds one of these tickets until an operator has looked at it."""
    cursor = await conn.execute(
        _HOLD,
        {
            "registry": registry,
            "tickets": list(tickets),
            "reason": HumanReason.INTEGRITY,
            "detail": detail,
        },
    )
    return [row[0] for row in await cursor.fetchall()]


async def next_ticket(conn: AsyncConnection[TupleRow], registry: int, lane: int) -> int | None:
    """Draw a ticket of a lane, to see how far it has come; None where this platform gives out none there."""
    cursor = await conn.execute("SELECT to_regclass(%s)", [f"public.tickets_{registry}_{lane}_0"])
    row = await cursor.fetchone()
    if row is None or row[0] is None:
        return None
    cursor = await conn.execute("SELECT next_ticket(%s::smallint, %s::smallint)", [registry, lane])
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
