"""All SQL of reconciliation: the snapshot that is compared, and the runs with what they found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.batches.differences import Difference
from relayer.batches.reconcile import BatchRow, Event, EventKey, SlotRow, WordRow
from relayer.chain.registry import BATCH_CONFIRMED_TOPIC

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True)
class Position:
    """Up to where the indexer has read a registry; `genesis_hash` is None before the first run."""

    block_number: int
    block_hash: bytes | None
    genesis_hash: bytes | None


@dataclass(frozen=True)
class Run:
    """A reconciliation: when, how much, at which block, and how much was compared."""

    id: UUID
    registry_id: int
    mode: str
    block_number: int
    block_hash: bytes
    batches: int
    words: int
    events: int
    started_at: datetime
    finished_at: datetime


# --- what is compared ------------------------------------------------------------------------------------------

_POSITION = """
SELECT c.next_block - 1, c.last_hash, r.genesis_hash
FROM registries r LEFT JOIN cursors c ON c.chain_id = r.chain_id AND c.contract = r.address
WHERE r.id = %s
"""

_EVERY_BATCH = "SELECT id FROM batches WHERE registry_id = %(registry)s"
# Everything that may still move, what was settled of late, and a few of the rest by chance.
_SOME_BATCHES = """
(SELECT id FROM batches WHERE registry_id = %(registry)s AND state NOT IN ('final', 'released'))
UNION (SELECT id FROM batches WHERE registry_id = %(registry)s ORDER BY sealed_at DESC LIMIT 200)
UNION (SELECT id FROM batches TABLESAMPLE BERNOULLI (1) WHERE registry_id = %(registry)s LIMIT 200)
"""

_BATCHES = """
SELECT b.id, b.root, b.state, b.leaf_count, b.block_number,
       count(*) FILTER (WHERE j.state = 'confirming') AS confirming,
       count(*) FILTER (WHERE j.state = 'confirmed') AS confirmed
FROM batches b LEFT JOIN jobs j ON j.batch_id = b.id
WHERE b.id = ANY(%(batches)s)
GROUP BY b.id
"""

_INDICES = "SELECT DISTINCT index FROM batch_words WHERE batch_id = ANY(%(batches)s) ORDER BY index DESC"
_SOME = " LIMIT 400"

_WORDS = """
SELECT b.root, w.index, w.mask, CASE b.state WHEN 'final' THEN b.block_number END
FROM batch_words w JOIN batches b ON b.id = w.batch_id
WHERE b.registry_id = %(registry)s AND w.index = ANY(%(indices)s)
UNION ALL
SELECT root, w.index, w.mask, e.block_number
FROM external_words w JOIN external_batches e USING (registry_id, root)
WHERE registry_id = %(registry)s AND w.index = ANY(%(indices)s)
"""

# A mask is written with bit 255 first.
_TICKETS = """
SELECT j.ticket >> 8,
       bit_or(set_bit(0::bit(256), 255 - (j.ticket & 255)::int, 1)),
       bit_or(set_bit(0::bit(256), 255 - (j.ticket & 255)::int, (j.revoked_at IS NOT NULL)::int))
FROM unnest(%(indices)s::bigint[]) AS i (index)
JOIN jobs j ON j.registry_id = %(registry)s AND j.ticket BETWEEN i.index << 8 AND (i.index << 8) + 255
JOIN batches b ON b.id = j.batch_id
WHERE j.state = 'confirmed' AND b.block_number <= %(height)s
GROUP BY 1
"""

_EVENTS = """
SELECT e.block_number, e.block_hash, e.log_index, r.root,
       r.root IS NOT NULL
       AND (EXISTS (SELECT FROM batches b WHERE b.registry_id = %(registry)s AND b.root = r.root)
            OR EXISTS (SELECT FROM external_batches b WHERE b.registry_id = %(registry)s AND b.root = r.root))
FROM event_logs e CROSS JOIN LATERAL (SELECT CASE WHEN e.topics[1] = %(topic)s THEN e.topics[2] END AS root) r
WHERE e.chain_id = %(chain)s AND e.address = %(address)s AND e.canonical AND e.finalized
  AND e.block_number BETWEEN %(first)s AND %(last)s
"""

_SLOTS = """
SELECT t.sender, t.nonce, t.state, t.created_at,
       coalesce(array_agg(a.hash::bytea) FILTER (WHERE a.hash IS NOT NULL), '{}') AS hashes
FROM chain_txs t LEFT JOIN tx_attempts a ON a.chain_tx_id = t.id
WHERE t.chain_id = %s AND t.state IN ('reserved', 'signed', 'broadcast', 'included')
GROUP BY t.id ORDER BY t.nonce
"""


async def snapshot(conn: Connection) -> None:
    """Let everything that this transaction reads be of one moment."""
    await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


async def position(conn: Connection, registry_id: int) -> Position | None:
    """Give up to where the indexer has read; None before its first range."""
    row = await (await conn.execute(_POSITION, [registry_id])).fetchone()
    return None if row is None or row[0] is None or row[1] is None else Position(*row)


async def batches(conn: Connection, registry_id: int, *, every: bool) -> list[BatchRow]:
    """Give every batch of a registry, or those that are looked at often."""
    chosen = await conn.execute(_EVERY_BATCH if every else _SOME_BATCHES, {"registry": registry_id})
    ids = [row[0] for row in await chosen.fetchall()]
    async with conn.cursor(row_factory=class_row(BatchRow)) as cursor:
        await cursor.execute(_BATCHES, {"batches": ids})
        return await cursor.fetchall()


async def indices(conn: Connection, batch_ids: Sequence[UUID], *, every: bool) -> list[int]:
    """Give the words that batches touch, the newest first; only a few hundred unless `every`."""
    cursor = await conn.execute(_INDICES if every else _INDICES + _SOME, {"batches": list(batch_ids)})
    return [row[0] for row in await cursor.fetchall()]


async def words(conn: Connection, registry_id: int, wanted: Sequence[int]) -> list[WordRow]:
    """Give these words of every batch that touches them."""
    cursor = await conn.execute(_WORDS, {"registry": registry_id, "indices": list(wanted)})
    return [
        WordRow(root, index, int.from_bytes(mask), final_block)
        for root, index, mask, final_block in await cursor.fetchall()
    ]


async def tickets(
    conn: Connection, registry_id: int, wanted: Sequence[int], height: int
) -> tuple[dict[int, int], dict[int, int]]:
    """Give the tickets of confirmed jobs, and of those the revoked ones, as masks by word."""
    cursor = await conn.execute(
        _TICKETS, {"registry": registry_id, "indices": list(wanted), "height": height}
    )
    rows = await cursor.fetchall()
    return (
        {index: int(confirmed, 2) for index, confirmed, _ in rows},
        {index: int(revoked, 2) for index, _, revoked in rows},
    )


async def events(
    conn: Connection, registry_id: int, chain_id: int, address: bytes, span: tuple[int, int]
) -> dict[EventKey, Event]:
    """Give the events of a contract in a span of blocks, both ends included."""
    cursor = await conn.execute(
        _EVENTS,
        {
            "registry": registry_id,
            "topic": BATCH_CONFIRMED_TOPIC,
            "chain": chain_id,
            "address": address,
            "first": span[0],
            "last": span[1],
        },
    )
    return {
        (number, block_hash, log_index): Event(root, is_known)
        for number, block_hash, log_index, root, is_known in await cursor.fetchall()
    }


async def open_slots(conn: Connection, chain_id: int) -> list[SlotRow]:
    """Give the nonce slots that are not settled, in nonce order."""
    async with conn.cursor(row_factory=class_row(SlotRow)) as cursor:
        await cursor.execute(_SLOTS, [chain_id])
        return await cursor.fetchall()


async def sender(conn: Connection, chain_id: int) -> bytes | None:
    """Give the account that took the last nonce."""
    cursor = await conn.execute(
        "SELECT sender FROM chain_txs WHERE chain_id = %s ORDER BY created_at DESC LIMIT 1", [chain_id]
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def remember_genesis(conn: Connection, registry_id: int, genesis_hash: bytes) -> None:
    """Keep the genesis block's hash of a registry's chain, unless one is kept."""
    await conn.execute(
        "UPDATE registries SET genesis_hash = %s WHERE id = %s AND genesis_hash IS NULL",
        [genesis_hash, registry_id],
    )


# --- runs --------------------------------------------------------------------------------------------------

_LAST_RUNS = """
SELECT max(started_at), max(started_at) FILTER (WHERE mode = 'full') FROM reconciliations WHERE registry_id = %s
"""

_INSERT_RUN = """
INSERT INTO reconciliations (id, registry_id, mode, block_number, block_hash, batches, words, events, started_at,
                             finished_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""

_INSERT_DIFFERENCE = """
INSERT INTO reconciliation_differences (reconciliation_id, number, class, subject, database, chain, block_number, action)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""

_FORGET = """
DELETE FROM reconciliations r WHERE registry_id = %s AND started_at < %s
  AND NOT EXISTS (SELECT FROM reconciliation_differences d WHERE d.reconciliation_id = r.id)
"""


async def last_runs(conn: Connection, registry_id: int) -> tuple[datetime | None, datetime | None]:
    """Say when the last run of any mode, and the last full one, began."""
    row = await (await conn.execute(_LAST_RUNS, [registry_id])).fetchone()
    assert row is not None
    return row[0], row[1]


async def insert_run(conn: Connection, run: Run, found: Sequence[Difference]) -> None:
    """Keep a run and what it found."""
    await conn.execute(
        _INSERT_RUN,
        [
            run.id,
            run.registry_id,
            run.mode,
            run.block_number,
            run.block_hash,
            run.batches,
            run.words,
            run.events,
            run.started_at,
            run.finished_at,
        ],
    )
    async with conn.cursor() as cursor:
        await cursor.executemany(
            _INSERT_DIFFERENCE,
            [
                (run.id, number, one.kind, one.subject, one.database, one.chain, one.block, one.action)
                for number, one in enumerate(found, start=1)
            ],
        )


async def set_outcome(conn: Connection, run_id: UUID, number: int, outcome: str) -> None:
    """Note what became of what was done about a difference."""
    await conn.execute(
        "UPDATE reconciliation_differences SET outcome = %s WHERE reconciliation_id = %s AND number = %s",
        [outcome, run_id, number],
    )


async def forget_clean_runs(conn: Connection, registry_id: int, before: datetime) -> None:
    """Delete runs of before a time that found nothing."""
    await conn.execute(_FORGET, [registry_id, before])
