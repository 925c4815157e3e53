"""All SQL of batches, of their words and leaves, and of the jobs in them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.batches.policy import Waiting, WaitingWord
from relayer.batches.reasons import HoldReason, HumanReason
from relayer.batches.records import ConfirmedJob, FinishedJob
from relayer.model.ids import new_id
from relayer.seal.tree import MAX_LANE, WORD_TICKETS, Word
from relayer.store.ticket_repository import LANE_BITS

# Of how many words jobs are read at a time: while rows become records nobody else of the event loop has a turn.
_WORDS = 8

# The order in which the results were ready; what lies far behind is looked at when what is before it is sealed.
_OLDEST = f"""
SELECT ticket, result_ready_at FROM jobs
WHERE registry_id = %(registry)s AND state = 'completed' AND ticket >> {LANE_BITS} = %(lane)s
ORDER BY result_ready_at LIMIT %(limit)s
"""  # noqa: S608  # constants only
_WAITING_LANES = f"""
SELECT l.lane FROM generate_series(0, {MAX_LANE}) l (lane), LATERAL (
    SELECT result_ready_at FROM jobs
    WHERE registry_id = %s AND state = 'completed' AND ticket >> {LANE_BITS} = l.lane
    ORDER BY result_ready_at LIMIT 1
) j ORDER BY j.result_ready_at
"""  # noqa: S608  # constants only
_WAITING = f"""
SELECT count(*) AS jobs, min(result_ready_at) AS oldest,
       coalesce(sum(extract(epoch FROM %(at)s - result_ready_at)), 0)::float8 AS waited
FROM ({_OLDEST}) f
"""  # noqa: S608  # constants only
# Of a word whose last ticket was not given out, more will be.
_WAITING_WORDS = f"""
SELECT w.*, w.jobs < {WORD_TICKETS} AND w.newest >= %(news)s AND (
    EXISTS (SELECT FROM jobs j WHERE j.registry_id = %(registry)s AND j.state IN ('created', 'processing')
              AND j.ticket BETWEEN w.index << 8 AND (w.index << 8) + {WORD_TICKETS - 1})
    OR NOT EXISTS (SELECT FROM jobs j WHERE j.registry_id = %(registry)s AND j.ticket = (w.index << 8) + {WORD_TICKETS - 1})
) AS more_to_come
FROM (SELECT ticket >> 8 AS index, count(*) AS jobs, min(result_ready_at) AS oldest, max(result_ready_at) AS newest,
             sum(extract(epoch FROM %(at)s - result_ready_at))::float8 AS waited
      FROM ({_OLDEST}) f GROUP BY 1) w
"""  # noqa: S608  # constants only
_FINISHED_OF_WORDS = f"""
SELECT j.id, j.ticket, j.input_hash, j.output_hash, j.result_ready_at, j.salt, j.state_version, j.tenant_id,
       t.name AS tenant_name, j.kind, j.metadata, j.output_size, j.output_media_type, j.created_at
FROM unnest(%(words)s::bigint[]) WITH ORDINALITY w (index, place)
JOIN jobs j ON j.registry_id = %(registry)s AND j.state = 'completed'
           AND j.ticket BETWEEN w.index << 8 AND (w.index << 8) + {WORD_TICKETS - 1}
JOIN tenants t ON t.id = j.tenant_id
ORDER BY w.place, j.result_ready_at LIMIT %(limit)s
"""  # noqa: S608  # constants only
# A root is a batch's identity: jobs that were released and are sealed together again make the batch they were.
_INSERT_BATCH = """
INSERT INTO batches AS b (id, registry_id, lane, root, state, leaf_count, sealed_at) VALUES (%s, %s, %s, %s, 'sealed', %s, %s)
ON CONFLICT (registry_id, root) DO UPDATE SET
    state = 'sealed', sealed_at = excluded.sealed_at, reason = NULL, detail = NULL, retry_at = NULL
WHERE b.state = 'released'
RETURNING b.id, b.xmax = 0
"""
# Only what is held, or awaits the event of its confirmation, has a time to be tried again.
_NEXT = """
SELECT b.id FROM batches b
WHERE b.registry_id = %(registry)s AND (b.state = 'sealed' OR b.retry_at <= %(at)s)
  AND NOT EXISTS (SELECT 1 FROM chain_txs t WHERE t.batch_id = b.id
                  AND t.state IN ('reserved', 'signed', 'broadcast', 'included'))
ORDER BY b.sealed_at, b.id LIMIT 1 FOR UPDATE OF b SKIP LOCKED
"""
_FINAL = """
UPDATE batches b SET
    state = 'final', reason = NULL, detail = NULL, retry_at = NULL,
    gas_used = CASE WHEN b.transaction_hash = %(transaction)s THEN b.gas_used END,
    transaction_hash = %(transaction)s, block_number = %(number)s, block_hash = %(block)s,
    included_at = coalesce(b.included_at, %(at)s), final_at = coalesce(b.final_at, %(at)s)
FROM registries r
WHERE r.id = b.registry_id AND r.chain_id = %(chain)s AND r.address = %(registry)s AND b.root = %(root)s
  AND b.state <> 'released'
RETURNING b.id
"""
_CONFIRMED_JOB = """
SELECT j.id, j.ticket, j.input_hash, j.output_hash, j.result_ready_at, j.salt,
       b.id AS batch_id, r.chain_id, r.address AS registry, b.root, b.transaction_hash, b.block_number, b.block_hash
FROM jobs j JOIN batches b ON b.id = j.batch_id JOIN registries r ON r.id = b.registry_id
WHERE j.tenant_id = %s AND j.id = %s AND j.state = 'confirmed'
"""


async def waiting_lanes(conn: AsyncConnection[TupleRow], registry_id: int) -> list[int]:
    """Give the lanes that have finished jobs, that of the oldest one first."""
    cursor = await conn.execute(_WAITING_LANES, [registry_id])
    return [lane for (lane,) in await cursor.fetchall()]


async def waiting(
    conn: AsyncConnection[TupleRow], registry_id: int, lane: int, *, limit: int, at: datetime
) -> Waiting | None:
    """Tell of the oldest finished jobs of a lane, up to `limit`; None where there are none."""
    async with conn.cursor(row_factory=class_row(Waiting)) as cursor:
        await cursor.execute(_WAITING, {"registry": registry_id, "lane": lane, "limit": limit, "at": at})
        found = await cursor.fetchone()
    return found if found is not None and found.jobs else None


async def waiting_words(
    conn: AsyncConnection[TupleRow], registry_id: int, lane: int, *, limit: int, at: datetime, news: datetime
) -> list[WaitingWord]:
    """Tell of the words of the oldest finished jobs of a lane, up to `limit` jobs; what is older than `news` is none."""
    async with conn.cursor(row_factory=class_row(WaitingWord)) as cursor:
        await cursor.execute(
            _WAITING_WORDS, {"registry": registry_id, "lane": lane, "limit": limit, "at": at, "news": news}
        )
        return await cursor.fetchall()


async def finished(
    conn: AsyncConnection[TupleRow], registry_id: int, words: Sequence[int], limit: int
) -> list[FinishedJob]:
    """Give the finished jobs of words, up to `limit`; in the order of the words, oldest first."""
    jobs: list[FinishedJob] = []
    async with conn.cursor(row_factory=class_row(FinishedJob)) as cursor:
        for start in range(0, len(words), _WORDS):
            few, left = words[start : start + _WORDS], limit - len(jobs)
            await cursor.execute(_FINISHED_OF_WORDS, {"registry": registry_id, "words": few, "limit": left})
            jobs += await cursor.fetchall()
    return jobs


async def has_sealed(conn: AsyncConnection[TupleRow], registry_id: int, lane: int) -> bool:
    """Whether a batch of a lane still waits for its nonce."""
    cursor = await conn.execute(
        """SELECT EXISTS (SELECT FROM batches
                          WHERE registry_id = %s AND lane = %s AND state IN ('sealed', 'held'))""",
        [registry_id, lane],
    )
    return bool(_one(await cursor.fetchone())[0])


async def waits_for_quorum(conn: AsyncConnection[TupleRow], registry_id: int, lane: int) -> bool:
    """Whether a batch of a lane is held because the lane is closed, or wants more confirmers."""
    cursor = await conn.execute(
        """SELECT EXISTS (SELECT FROM batches
                          WHERE registry_id = %s AND lane = %s AND state = 'held' AND reason = %s)""",
        [registry_id, lane, HoldReason.QUORUM],
    )
    return bool(_one(await cursor.fetchone())[0])


async def look_again_at_quorum(
    conn: AsyncConnection[TupleRow], registry_id: int, lane: int, at: datetime
) -> None:
    """Let what waits for the quorum of a lane be tried from a time on."""
    await conn.execute(
        """UPDATE batches SET retry_at = least(retry_at, %s)
           WHERE registry_id = %s AND lane = %s AND state = 'held' AND reason = %s""",
        [at, registry_id, lane, HoldReason.QUORUM],
    )


async def insert_batch(
    conn: AsyncConnection[TupleRow],
    *,
    registry_id: int,
    lane: int,
    root: bytes,
    words: Iterable[Word],
    leaves: Mapping[int, bytes],
    at: datetime,
) -> UUID | None:
    """Store a sealed batch of a lane: its words, and its leaves by ticket.

    Returns:
        Its id; that of the released batch that was the same and is sealed anew; None where the same is on its way.

    """
    cursor = await conn.execute(_INSERT_BATCH, [new_id(), registry_id, lane, root, len(leaves), at])
    row = await cursor.fetchone()
    if row is None:
        return None
    batch_id: UUID
    batch_id, is_new = row
    if not is_new:
        return batch_id
    async with conn.cursor() as cursor:
        async with cursor.copy("COPY batch_words (batch_id, index, mask, root) FROM STDIN") as copy:
            for one in words:
                await copy.write_row((batch_id, one.index, one.mask.to_bytes(32), one.root))
        async with cursor.copy("COPY batch_leaves (batch_id, ticket, leaf) FROM STDIN") as copy:
            for ticket, leaf in leaves.items():
                await copy.write_row((batch_id, ticket, leaf))
    return batch_id


async def lock_next(conn: AsyncConnection[TupleRow], registry_id: int, at: datetime) -> UUID | None:
    """Lock the oldest batch that waits for a nonce slot."""
    cursor = await conn.execute(_NEXT, {"registry": registry_id, "at": at})
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def root_of(conn: AsyncConnection[TupleRow], batch_id: UUID) -> bytes:
    """Give the root of a batch."""
    cursor = await conn.execute("SELECT root FROM batches WHERE id = %s", [batch_id])
    root: bytes = _one(await cursor.fetchone())[0]
    return root


async def registry_of(conn: AsyncConnection[TupleRow], batch_id: UUID) -> int:
    """Give the registry that a batch is for."""
    cursor = await conn.execute("SELECT registry_id FROM batches WHERE id = %s", [batch_id])
    registry_id: int = _one(await cursor.fetchone())[0]
    return registry_id


async def words_of(conn: AsyncConnection[TupleRow], batch_id: UUID) -> list[Word]:
    """Give the words of a batch in ascending order."""
    cursor = await conn.execute(
        "SELECT index, mask, root FROM batch_words WHERE batch_id = %s ORDER BY index", [batch_id]
    )
    return [Word(index, int.from_bytes(mask), root) for index, mask, root in await cursor.fetchall()]


async def leaves_of_word(conn: AsyncConnection[TupleRow], batch_id: UUID, index: int) -> dict[int, bytes]:
    """Give the leaves of one word of a batch by their position, 0 to 255."""
    first = index * WORD_TICKETS
    cursor = await conn.execute(
        "SELECT ticket, leaf FROM batch_leaves WHERE batch_id = %s AND ticket BETWEEN %s AND %s",
        [batch_id, first, first + WORD_TICKETS - 1],
    )
    return {ticket - first: leaf for ticket, leaf in await cursor.fetchall()}


async def set_sending(
    conn: AsyncConnection[TupleRow], batch_id: UUID, *, retry_at: datetime | None = None
) -> None:
    """Note that a batch is on its way, in no block; with `retry_at` it is offered again unless an event comes first."""
    await conn.execute(
        """UPDATE batches SET state = 'sending', reason = NULL, detail = NULL, retry_at = %s, transaction_hash = NULL,
                  block_number = NULL, block_hash = NULL, gas_used = NULL, included_at = NULL
           WHERE id = %s AND state <> 'final'""",
        [retry_at, batch_id],
    )


async def set_included(
    conn: AsyncConnection[TupleRow],
    batch_id: UUID,
    *,
    transaction_hash: bytes,
    block_number: int,
    block_hash: bytes,
    gas_used: int,
    at: datetime,
) -> None:
    """Note the block that a batch was mined in; a hint until that block is final."""
    await conn.execute(
        """UPDATE batches SET state = 'included', reason = NULL, detail = NULL, retry_at = NULL,
                  transaction_hash = %s, block_number = %s, block_hash = %s, gas_used = %s, included_at = %s
           WHERE id = %s AND state <> 'final'""",
        [transaction_hash, block_number, block_hash, gas_used, at, batch_id],
    )


async def set_held(
    conn: AsyncConnection[TupleRow], batch_id: UUID, reason: HoldReason, detail: str, retry_at: datetime
) -> bool:
    """Keep a batch back until a time; whether this reason is new to it."""
    cursor = await conn.execute(
        """UPDATE batches SET state = 'held', reason = %s, detail = %s, retry_at = %s
           WHERE id = %s AND state <> 'final'
           RETURNING old.state <> 'held' OR old.reason IS DISTINCT FROM new.reason""",
        [reason, detail, retry_at, batch_id],
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def set_needs_human(
    conn: AsyncConnection[TupleRow], batch_id: UUID, reason: HumanReason, detail: str
) -> None:
    """Stop a batch until an operator has looked at it; `detail` says in words what happened."""
    await conn.execute(
        """UPDATE batches SET state = 'needs_human', reason = %s, detail = %s, retry_at = NULL
           WHERE id = %s AND state <> 'final'""",
        [reason, detail, batch_id],
    )


async def hint_included(
    conn: AsyncConnection[TupleRow],
    registry_id: int,
    root: bytes,
    *,
    transaction_hash: bytes,
    block_number: int,
    block_hash: bytes,
    at: datetime,
) -> None:
    """Note where the event of a batch of ours was seen, whoever sent it; a hint until that block is final."""
    await conn.execute(
        """UPDATE batches SET state = 'included', reason = NULL, detail = NULL, retry_at = NULL, transaction_hash = %s,
                  block_number = %s, block_hash = %s, gas_used = NULL, included_at = %s
           WHERE registry_id = %s AND root = %s AND state IN ('sealed', 'held', 'sending')""",
        [transaction_hash, block_number, block_hash, at, registry_id, root],
    )


async def unhint_included(
    conn: AsyncConnection[TupleRow], registry_id: int, root: bytes, block_hash: bytes
) -> None:
    """Take a hint back: a batch whose block is gone is on its way again, or sealed where nothing is under way."""
    await conn.execute(
        """UPDATE batches b SET transaction_hash = NULL, block_number = NULL, block_hash = NULL, gas_used = NULL,
                  included_at = NULL,
                  state = CASE WHEN EXISTS (SELECT 1 FROM chain_txs t WHERE t.batch_id = b.id AND t.state IN
                                            ('reserved', 'signed', 'broadcast', 'included'))
                               THEN 'sending' ELSE 'sealed' END
           WHERE b.registry_id = %s AND b.root = %s AND b.state = 'included' AND b.block_hash = %s""",
        [registry_id, root, block_hash],
    )


async def sent_batches(conn: AsyncConnection[TupleRow], registry_id: int) -> list[tuple[UUID, bytes]]:
    """Give the batches that may be on chain and are not final, each with its root, the oldest first."""
    cursor = await conn.execute(
        """SELECT id, root FROM batches WHERE registry_id = %s AND state IN ('sending', 'included')
           ORDER BY sealed_at, id""",
        [registry_id],
    )
    return [(batch_id, root) for batch_id, root in await cursor.fetchall()]


async def attempt_hashes(conn: AsyncConnection[TupleRow], batch_id: UUID) -> list[bytes]:
    """Give the hash of every transaction that was ever signed to confirm a batch, without those that cancel one."""
    cursor = await conn.execute(
        """SELECT a.hash FROM tx_attempts a JOIN chain_txs t ON t.id = a.chain_tx_id
           WHERE t.batch_id = %s AND a.purpose = 'confirm_batch' ORDER BY a.created_at""",
        [batch_id],
    )
    return [row[0] for row in await cursor.fetchall()]


async def set_final(
    conn: AsyncConnection[TupleRow],
    *,
    chain_id: int,
    registry: bytes,
    root: bytes,
    transaction_hash: bytes,
    block_number: int,
    block_hash: bytes,
    at: datetime,
) -> UUID | None:
    """Note the final block that confirmed a batch; None where no batch of ours has this root."""
    cursor = await conn.execute(
        _FINAL,
        {
            "chain": chain_id,
            "registry": registry,
            "root": root,
            "transaction": transaction_hash,
            "number": block_number,
            "block": block_hash,
            "at": at,
        },
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def lock_confirming(
    conn: AsyncConnection[TupleRow], batch_id: UUID, limit: int
) -> list[tuple[UUID, int]]:
    """Lock jobs of a batch that are not confirmed yet, in the order of ids; each with its state version."""
    cursor = await conn.execute(
        """SELECT id, state_version FROM jobs WHERE batch_id = %s AND state = 'confirming'
           ORDER BY id LIMIT %s FOR UPDATE""",
        [batch_id, limit],
    )
    return [(job_id, version) for job_id, version in await cursor.fetchall()]


async def confirmed_job(conn: AsyncConnection[TupleRow], tenant: UUID, job_id: UUID) -> ConfirmedJob | None:
    """Give a confirmed job of a tenant, and where its batch was confirmed."""
    async with conn.cursor(row_factory=class_row(ConfirmedJob)) as cursor:
        await cursor.execute(_CONFIRMED_JOB, [tenant, job_id])
        return await cursor.fetchone()


def _one(row: Sequence[Any] | None) -> Sequence[Any]:
    assert row is not None
    return row
