"""All SQL of the indexer: blocks, their logs, and up to where a contract's logs are read and read again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.chain.node import Block, BlockRef, Log

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True)
class Cursor:
    """Up to where a contract's logs are read: the next block, and the hash of the one before it.

    `second_block` is the next block of the second reading.
    """

    next_block: int
    last_hash: bytes | None
    second_block: int


_CURSOR = """
INSERT INTO cursors AS c (chain_id, contract, next_block, second_block, updated_at)
VALUES (%(chain)s, %(contract)s, %(first)s, %(first)s, %(at)s)
ON CONFLICT (chain_id, contract) DO UPDATE SET next_block = c.next_block
RETURNING next_block, last_hash, second_block
"""

_ADVANCE = """
UPDATE cursors SET next_block = %(next)s, last_hash = %(hash)s, updated_at = %(at)s
WHERE chain_id = %(chain_id)s AND contract = %(contract)s AND next_block = %(expected)s
"""

_ADD_BLOCK = """
INSERT INTO block_refs AS b (chain_id, hash, number, parent_hash, mined_at, finalized, canonical)
VALUES (%s, %s, %s, %s, %s, %s, true)
ON CONFLICT (chain_id, hash) DO UPDATE SET finalized = b.finalized OR excluded.finalized, canonical = true
"""

# News is a log that was not there, came back, or became final.
_ADD_LOG = """
INSERT INTO event_logs AS l (chain_id, block_hash, log_index, block_number, transaction_hash, address, topics, data,
                             canonical, finalized)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, true, %s)
ON CONFLICT (chain_id, block_hash, log_index) DO UPDATE
    SET canonical = true, finalized = l.finalized OR excluded.finalized
    WHERE NOT l.canonical OR (excluded.finalized AND NOT l.finalized)
"""

_LOGS = """
SELECT l.address, l.block_number, l.block_hash, l.transaction_hash, l.log_index, l.topics, l.data, b.mined_at
FROM event_logs l JOIN block_refs b ON b.chain_id = l.chain_id AND b.hash = l.block_hash
WHERE l.chain_id = %(chain)s AND l.address = %(contract)s AND l.canonical AND l.finalized = %(finalized)s
  AND l.block_number BETWEEN %(first)s AND %(last)s
ORDER BY l.block_number, l.log_index
"""

_FORGET = """
DELETE FROM block_refs b WHERE chain_id = %(chain)s AND number <= %(last)s AND NOT finalized
  AND NOT EXISTS (SELECT 1 FROM event_logs l WHERE l.chain_id = b.chain_id AND l.block_number = b.number
                  AND l.block_hash = b.hash)
"""


async def cursor_of(
    conn: Connection, chain_id: int, contract: bytes, first_block: int, at: datetime
) -> Cursor:
    """Give a contract's cursor; it starts at its first block."""
    async with conn.cursor(row_factory=class_row(Cursor)) as cursor:
        await cursor.execute(
            _CURSOR, {"chain": chain_id, "contract": contract, "first": first_block, "at": at}
        )
        row = await cursor.fetchone()
    assert row is not None
    return row


async def advance(
    conn: Connection, chain_id: int, contract: bytes, *, expected: int, last: Block, at: datetime
) -> bool:
    """Move a cursor past a block; False if another process moved it meanwhile."""
    cursor = await conn.execute(
        _ADVANCE,
        {
            "chain_id": chain_id,
            "contract": contract,
            "next": last.number + 1,
            "hash": last.hash,
            "expected": expected,
            "at": at,
        },
    )
    return cursor.rowcount == 1


async def advance_second(
    conn: Connection, chain_id: int, contract: bytes, *, expected: int, next_block: int
) -> bool:
    """Move the second reading on; False if another process did meanwhile."""
    cursor = await conn.execute(
        "UPDATE cursors SET second_block = %s WHERE chain_id = %s AND contract = %s AND second_block = %s",
        [next_block, chain_id, contract, expected],
    )
    return cursor.rowcount == 1


async def lock_cursor(conn: Connection, chain_id: int, contract: bytes, expected: int) -> bool:
    """Keep a cursor where it is until the end of the transaction; False if it is elsewhere."""
    cursor = await conn.execute(
        "SELECT 1 FROM cursors WHERE chain_id = %s AND contract = %s AND next_block = %s FOR UPDATE",
        [chain_id, contract, expected],
    )
    return await cursor.fetchone() is not None


async def add_blocks(conn: Connection, chain_id: int, blocks: Iterable[Block], *, finalized: bool) -> None:
    """Keep the headers of canonical blocks."""
    async with conn.cursor() as cursor:
        await cursor.executemany(
            _ADD_BLOCK,
            [
                (chain_id, block.hash, block.number, block.parent_hash, block.mined_at, finalized)
                for block in blocks
            ],
        )


async def add_log(conn: Connection, chain_id: int, log: Log, *, finalized: bool) -> bool:
    """Keep a log of a canonical block; False if there is nothing new about it."""
    cursor = await conn.execute(
        _ADD_LOG,
        [
            chain_id,
            log.block_hash,
            log.log_index,
            log.block_number,
            log.transaction_hash,
            log.address,
            list(log.topics),
            log.data,
            finalized,
        ],
    )
    return cursor.rowcount == 1


async def open_blocks(conn: Connection, chain_id: int) -> list[BlockRef]:
    """Give the canonical blocks that are not final, the highest first."""
    async with conn.cursor(row_factory=class_row(BlockRef)) as cursor:
        await cursor.execute(
            "SELECT number, hash FROM block_refs WHERE chain_id = %s AND NOT finalized AND canonical "
            "ORDER BY number DESC",
            [chain_id],
        )
        return await cursor.fetchall()


async def last_final(conn: Connection, chain_id: int) -> BlockRef | None:
    """Give the highest final block that was read; None where none was."""
    async with conn.cursor(row_factory=class_row(BlockRef)) as cursor:
        await cursor.execute(
            "SELECT number, hash FROM block_refs WHERE chain_id = %s AND finalized ORDER BY number DESC LIMIT 1",
            [chain_id],
        )
        return await cursor.fetchone()


async def logs_between(
    conn: Connection, chain_id: int, contract: bytes, first: int, last: int, *, finalized: bool
) -> list[tuple[Log, datetime]]:
    """Give the canonical logs of a range of blocks in their order, each with the time of its block."""
    cursor = await conn.execute(
        _LOGS,
        {"chain": chain_id, "contract": contract, "first": first, "last": last, "finalized": finalized},
    )
    return [
        (Log(address, number, block, transaction, index, tuple(topics), data), mined_at)
        for address, number, block, transaction, index, topics, data, mined_at in await cursor.fetchall()
    ]


async def take_back(conn: Connection, chain_id: int, hashes: Sequence[bytes]) -> None:
    """Note that these blocks, with their logs, are no longer canonical."""
    for statement in (
        "UPDATE block_refs SET canonical = false WHERE chain_id = %s AND hash = ANY(%s) AND NOT finalized",
        "UPDATE event_logs SET canonical = false WHERE chain_id = %s AND block_hash = ANY(%s) AND NOT finalized",
    ):
        await conn.execute(statement, [chain_id, list(hashes)])


async def forget_open_blocks(conn: Connection, chain_id: int, last: int) -> None:
    """Forget the blocks up to a final one that only served to follow the head."""
    await conn.execute(_FORGET, {"chain": chain_id, "last": last})
