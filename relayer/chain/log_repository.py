"""All SQL of the indexer: final blocks, their logs, and up to where a contract's logs are read."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.chain.node import Block, Log

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True)
class Cursor:
    """Up to where a contract's logs are read: the next block, and the hash of the one before it."""

    next_block: int
    last_hash: bytes | None


_CURSOR = """
INSERT INTO cursors AS c (chain_id, contract, next_block, updated_at) VALUES (%s, %s, %s, %s)
ON CONFLICT (chain_id, contract) DO UPDATE SET next_block = c.next_block
RETURNING next_block, last_hash
"""

_ADVANCE = """
UPDATE cursors SET next_block = %(next)s, last_hash = %(hash)s, updated_at = %(at)s
WHERE chain_id = %(chain_id)s AND contract = %(contract)s AND next_block = %(expected)s
"""

_ADD_BLOCK = """
INSERT INTO block_refs (chain_id, hash, number, parent_hash, mined_at, finalized)
VALUES (%s, %s, %s, %s, %s, true)
ON CONFLICT (chain_id, hash) DO UPDATE SET finalized = true
"""

_ADD_LOG = """
INSERT INTO event_logs (chain_id, block_hash, log_index, block_number, transaction_hash, address, topics, data,
                        canonical)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, true)
ON CONFLICT DO NOTHING
"""


async def cursor_of(
    conn: Connection, chain_id: int, contract: bytes, first_block: int, at: datetime
) -> Cursor:
    """Give a contract's cursor; it starts at its first block."""
    async with conn.cursor(row_factory=class_row(Cursor)) as cursor:
        await cursor.execute(_CURSOR, [chain_id, contract, first_block, at])
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


async def add_blocks(conn: Connection, chain_id: int, blocks: Iterable[Block]) -> None:
    """Keep the headers of final blocks."""
    async with conn.cursor() as cursor:
        await cursor.executemany(
            _ADD_BLOCK,
            [(chain_id, block.hash, block.number, block.parent_hash, block.mined_at) for block in blocks],
        )


async def add_log(conn: Connection, chain_id: int, log: Log) -> bool:
    """Keep a log of a final block; False if it is there already."""
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
        ],
    )
    return cursor.rowcount == 1
