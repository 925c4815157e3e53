"""All SQL of the sender: nonce slots, and what was signed for them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.chain.answers import AnswerClass
from relayer.chain.calls import Call, Inclusion
from relayer.chain.fee import Fee
from relayer.chain.transaction import fee_of
from relayer.model.ids import new_id

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True)
class Slot:
    """A nonce of the sender's account that still belongs to one batch, and where its transaction is included."""

    id: UUID
    nonce: int
    batch_id: UUID
    target: bytes
    calldata: bytes
    state: str
    included_hash: bytes | None
    block_hash: bytes | None


@dataclass(frozen=True)
class Attempt:
    """One signed byte string of a slot."""

    hash: bytes
    slot_id: UUID
    raw: bytes
    gas_limit: int
    fee: Fee
    first_broadcast_at: datetime | None
    first_broadcast_block: int | None
    last_broadcast_at: datetime | None
    last_class: str | None


# --- nonce slots -------------------------------------------------------------------------------------------

_OPEN_SLOTS = """
SELECT id, nonce, batch_id, target, calldata, state, included_hash, block_hash
FROM chain_txs
WHERE chain_id = %s AND sender = %s AND state IN ('reserved', 'signed', 'broadcast', 'included')
ORDER BY nonce
"""

_RESERVE = """
INSERT INTO chain_txs (id, chain_id, sender, nonce, purpose, batch_id, target, calldata, state, lease_epoch,
                       created_at, updated_at)
SELECT %(id)s, %(chain_id)s, %(sender)s, greatest(%(latest)s, coalesce(max(nonce) + 1, 0)), 'confirm_batch',
       %(batch_id)s, %(target)s, %(calldata)s, 'reserved', %(epoch)s, %(at)s, %(at)s
FROM chain_txs WHERE chain_id = %(chain_id)s AND sender = %(sender)s
RETURNING id, nonce, batch_id, target, calldata, state, included_hash, block_hash
"""

_MOVE = """
UPDATE chain_txs SET state = %(target)s, lease_epoch = %(epoch)s, updated_at = %(at)s
WHERE id = %(id)s AND state = ANY(%(sources)s)
"""

_INCLUDE = """
UPDATE chain_txs SET state = 'included', included_hash = %(hash)s, block_number = %(number)s,
       block_hash = %(block_hash)s, gas_used = %(gas)s, lease_epoch = %(epoch)s, updated_at = %(at)s
WHERE id = %(id)s AND state IN ('signed', 'broadcast', 'included')
"""

_DROP = """
UPDATE chain_txs SET state = 'broadcast', included_hash = NULL, block_number = NULL, block_hash = NULL,
       gas_used = NULL, lease_epoch = %(epoch)s, updated_at = %(at)s
WHERE id = %(id)s AND state = 'included'
"""

_FORGET_BROADCASTS = """
UPDATE tx_attempts SET first_broadcast_at = NULL, first_broadcast_block = NULL, last_broadcast_at = NULL
WHERE chain_tx_id = %s
"""


async def open_slots(conn: Connection, chain_id: int, sender: bytes) -> list[Slot]:
    """Give the slots that are not settled, in nonce order."""
    async with conn.cursor(row_factory=class_row(Slot)) as cursor:
        await cursor.execute(_OPEN_SLOTS, [chain_id, sender])
        return await cursor.fetchall()


async def reserve(
    conn: Connection, call: Call, *, chain_id: int, sender: bytes, latest_nonce: int, epoch: int, at: datetime
) -> Slot:
    """Take the next nonce for a call: never below the chain's, never one that was given before."""
    async with conn.cursor(row_factory=class_row(Slot)) as cursor:
        await cursor.execute(
            _RESERVE,
            {
                "id": new_id(),
                "chain_id": chain_id,
                "sender": sender,
                "latest": latest_nonce,
                "batch_id": call.batch_id,
                "target": call.target,
                "calldata": call.calldata,
                "epoch": epoch,
                "at": at,
            },
        )
        slot = await cursor.fetchone()
    assert slot is not None
    return slot


async def move(
    conn: Connection, slot_id: UUID, target: str, sources: Iterable[str], *, epoch: int, at: datetime
) -> bool:
    """Move a slot on; False if it is in none of the source states."""
    cursor = await conn.execute(
        _MOVE, {"id": slot_id, "target": target, "sources": list(sources), "epoch": epoch, "at": at}
    )
    return cursor.rowcount == 1


async def include(conn: Connection, slot_id: UUID, inclusion: Inclusion, *, epoch: int, at: datetime) -> bool:
    """Note where a slot's transaction was mined; False if the slot is settled."""
    cursor = await conn.execute(
        _INCLUDE,
        {
            "id": slot_id,
            "hash": inclusion.transaction_hash,
            "number": inclusion.block_number,
            "block_hash": inclusion.block_hash,
            "gas": inclusion.gas_used,
            "epoch": epoch,
            "at": at,
        },
    )
    return cursor.rowcount == 1


async def drop(conn: Connection, slot_id: UUID, *, epoch: int, at: datetime) -> bool:
    """Take an inclusion back and let what was signed be sent anew; False if there was none."""
    cursor = await conn.execute(_DROP, {"id": slot_id, "epoch": epoch, "at": at})
    if cursor.rowcount == 0:
        return False
    await conn.execute(_FORGET_BROADCASTS, [slot_id])
    return True


# --- what was signed ---------------------------------------------------------------------------------------

_ATTEMPTS = """
SELECT hash, chain_tx_id, raw, gas_limit, max_fee_per_gas::text, max_priority_fee_per_gas::text,
       first_broadcast_at, first_broadcast_block, last_broadcast_at, last_class
FROM tx_attempts WHERE chain_tx_id = ANY(%s)
ORDER BY max_fee_per_gas, created_at
"""

_ADD_ATTEMPT = """
INSERT INTO tx_attempts (hash, chain_tx_id, raw, gas_limit, max_fee_per_gas, max_priority_fee_per_gas, created_at)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""

_ANSWERED = """
UPDATE tx_attempts SET last_broadcast_at = %(at)s, last_class = %(class)s, last_answer = %(answer)s,
       first_broadcast_at = CASE WHEN %(in_pool)s THEN coalesce(first_broadcast_at, %(at)s) ELSE first_broadcast_at END,
       first_broadcast_block = CASE WHEN %(in_pool)s THEN coalesce(first_broadcast_block, %(block)s)
                                    ELSE first_broadcast_block END
WHERE hash = %(hash)s
"""


async def attempts(conn: Connection, slot_ids: list[UUID]) -> dict[UUID, list[Attempt]]:
    """Give everything signed for these slots; each bump pays more, so the newest is the last of its list."""
    cursor = await conn.execute(_ATTEMPTS, [slot_ids])
    by_slot: dict[UUID, list[Attempt]] = {slot_id: [] for slot_id in slot_ids}
    for digest, slot_id, raw, gas_limit, max_fee, max_tip, *broadcast in await cursor.fetchall():
        fee = fee_of(raw, int(max_fee), int(max_tip))
        by_slot[slot_id].append(Attempt(digest, slot_id, raw, gas_limit, fee, *broadcast))
    return by_slot


async def add_attempt(conn: Connection, attempt: Attempt, at: datetime) -> None:
    """Keep a signed transaction, before anyone else sees it."""
    await conn.execute(
        _ADD_ATTEMPT,
        [
            attempt.hash,
            attempt.slot_id,
            attempt.raw,
            attempt.gas_limit,
            attempt.fee.max_fee,
            attempt.fee.max_tip,
            at,
        ],
    )


async def answered(
    conn: Connection, digest: bytes, kind: AnswerClass, answer: str | None, *, block: int, at: datetime
) -> None:
    """Note what the node said when the transaction was sent, with the height of its head."""
    await conn.execute(
        _ANSWERED,
        {
            "hash": digest,
            "class": kind.value,
            "answer": answer,
            "in_pool": kind.in_pool,
            "block": block,
            "at": at,
        },
    )
