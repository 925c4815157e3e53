"""All SQL of the sender: nonce slots, and what was signed for them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.chain.answers import AnswerClass
from relayer.chain.calls import Inclusion
from relayer.chain.node import Block
from relayer.chain.slots import UNMINED, Attempt, Purpose, Slot, SlotState
from relayer.chain.transaction import fee_of
from relayer.model.ids import new_id

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True)
class NewSlot:
    """What a nonce is to be taken for; `batch_id` is None for a fill."""

    purpose: Purpose
    batch_id: UUID | None
    target: bytes
    calldata: bytes


@dataclass(frozen=True)
class Account:
    """Whose nonces: an address of 20 bytes on a chain."""

    chain_id: int
    address: bytes


@dataclass(frozen=True)
class Stamp:
    """Under which epoch of the lease, and when, a slot is written."""

    epoch: int
    at: datetime


# --- nonce slots -------------------------------------------------------------------------------------------

_OPEN_SLOTS = """
SELECT id, nonce, purpose, batch_id, target, calldata, state, included_hash, block_hash
FROM chain_txs
WHERE chain_id = %s AND sender = %s AND state IN ('reserved', 'signed', 'broadcast', 'included')
ORDER BY nonce
"""

_RESERVE = """
INSERT INTO chain_txs (id, chain_id, sender, nonce, purpose, batch_id, target, calldata, state, lease_epoch,
                       created_at, updated_at)
VALUES (%(id)s, %(chain_id)s, %(sender)s, %(nonce)s, %(purpose)s, %(batch_id)s, %(target)s, %(calldata)s, 'reserved',
        %(epoch)s, %(at)s, %(at)s)
"""

_MISSING = """
SELECT n FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
WHERE NOT EXISTS (SELECT 1 FROM chain_txs t
                  WHERE t.chain_id = %(chain_id)s AND t.sender = %(sender)s AND t.nonce = n)
ORDER BY n LIMIT %(limit)s
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
UPDATE tx_attempts SET first_broadcast_at = NULL, first_broadcast_block = NULL, last_broadcast_at = NULL,
       last_broadcast_block = NULL
WHERE chain_tx_id = %s
"""

_SETTLE = """
UPDATE chain_txs SET state = %(target)s, settled_number = %(settled_number)s, settled_hash = %(settled_hash)s,
       included_hash = coalesce(%(hash)s, included_hash), block_number = coalesce(%(number)s, block_number),
       block_hash = coalesce(%(block_hash)s, block_hash), gas_used = coalesce(%(gas)s, gas_used),
       out_of_gas = %(out_of_gas)s, lease_epoch = %(epoch)s, updated_at = %(at)s
WHERE id = %(id)s AND state = ANY(%(sources)s)
"""

_OUT_OF_GAS = """
SELECT a.gas_limit FROM chain_txs t JOIN tx_attempts a ON a.chain_tx_id = t.id AND a.hash = t.included_hash
WHERE t.batch_id = %s AND t.state = 'reverted' AND t.out_of_gas
ORDER BY a.gas_limit
"""


async def accounts(conn: Connection) -> list[Account]:
    """Give every account that has a slot which is not settled."""
    cursor = await conn.execute(
        """SELECT DISTINCT chain_id, sender FROM chain_txs
           WHERE state IN ('reserved', 'signed', 'broadcast', 'included') ORDER BY chain_id, sender"""
    )
    return [Account(chain_id, sender) for chain_id, sender in await cursor.fetchall()]


async def open_slots(conn: Connection, account: Account) -> list[Slot]:
    """Give the slots that are not settled, in nonce order, with everything signed for them."""
    cursor = await conn.execute(_OPEN_SLOTS, [account.chain_id, account.address])
    rows = await cursor.fetchall()
    attempts = await _attempts(conn, [row[0] for row in rows])
    return [
        Slot(
            slot_id,
            nonce,
            Purpose(purpose),
            batch,
            target,
            data,
            SlotState(state),
            mined,
            block,
            attempts[slot_id],
        )
        for slot_id, nonce, purpose, batch, target, data, state, mined, block in rows
    ]


async def next_nonce(conn: Connection, account: Account, latest_nonce: int) -> int:
    """Give the next nonce: never below the chain's, never one that was given before."""
    cursor = await conn.execute(
        "SELECT greatest(%s, coalesce(max(nonce) + 1, 0)) FROM chain_txs WHERE chain_id = %s AND sender = %s",
        [latest_nonce, account.chain_id, account.address],
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def missing_nonces(conn: Connection, account: Account, first: int, last: int, limit: int) -> list[int]:
    """Give the nonces from `first` to `last`, both included, that were never taken."""
    cursor = await conn.execute(
        _MISSING,
        {
            "first": first,
            "last": last,
            "chain_id": account.chain_id,
            "sender": account.address,
            "limit": limit,
        },
    )
    return [nonce for (nonce,) in await cursor.fetchall()]


async def reserve(conn: Connection, account: Account, nonce: int, new: NewSlot, stamp: Stamp) -> Slot:
    """Take a nonce."""
    slot_id = new_id()
    await conn.execute(
        _RESERVE,
        {
            "id": slot_id,
            "chain_id": account.chain_id,
            "sender": account.address,
            "nonce": nonce,
            "purpose": new.purpose,
            "batch_id": new.batch_id,
            "target": new.target,
            "calldata": new.calldata,
            "epoch": stamp.epoch,
            "at": stamp.at,
        },
    )
    reserved = SlotState.RESERVED
    return Slot(slot_id, nonce, new.purpose, new.batch_id, new.target, new.calldata, reserved, None, None, ())


async def move(
    conn: Connection, slot_id: UUID, target: SlotState, sources: Iterable[SlotState], stamp: Stamp
) -> bool:
    """Move a slot on; False if it is in none of the source states."""
    cursor = await conn.execute(
        _MOVE,
        {"id": slot_id, "target": target, "sources": list(sources), "epoch": stamp.epoch, "at": stamp.at},
    )
    return cursor.rowcount == 1


async def include(conn: Connection, slot_id: UUID, inclusion: Inclusion, stamp: Stamp) -> bool:
    """Note where a slot's transaction was mined; False if the slot is settled."""
    cursor = await conn.execute(
        _INCLUDE, {"id": slot_id, "epoch": stamp.epoch, "at": stamp.at, **_mined(inclusion)}
    )
    return cursor.rowcount == 1


async def drop(conn: Connection, slot_id: UUID, stamp: Stamp) -> bool:
    """Take an inclusion back and let what was signed be sent anew; False if there was none."""
    cursor = await conn.execute(_DROP, {"id": slot_id, "epoch": stamp.epoch, "at": stamp.at})
    if cursor.rowcount == 0:
        return False
    await conn.execute(_FORGET_BROADCASTS, [slot_id])
    return True


async def settle(
    conn: Connection,
    slot_id: UUID,
    target: SlotState,
    finalized: Block,
    stamp: Stamp,
    *,
    mined: Inclusion | None = None,
    out_of_gas: bool = False,
) -> bool:
    """Settle a slot by a finalized block, with what was mined for it, if anything; False if it is settled."""
    sources = (SlotState.INCLUDED,) if target is SlotState.FINAL else UNMINED
    cursor = await conn.execute(
        _SETTLE,
        {
            "id": slot_id,
            "target": target,
            "sources": list(sources),
            "settled_number": finalized.number,
            "settled_hash": finalized.hash,
            "out_of_gas": out_of_gas,
            "epoch": stamp.epoch,
            "at": stamp.at,
            **_mined(mined),
        },
    )
    return cursor.rowcount == 1


async def cancel(conn: Connection, slot_id: UUID, stamp: Stamp) -> bool:
    """Let a nonce be used up by nothing instead of its batch's call; False if that is mined or the slot is settled."""
    cursor = await conn.execute(
        """UPDATE chain_txs SET purpose = 'cancel', lease_epoch = %s, updated_at = %s
           WHERE id = %s AND purpose = 'confirm_batch' AND state IN ('reserved', 'signed', 'broadcast')""",
        [stamp.epoch, stamp.at, slot_id],
    )
    return cursor.rowcount == 1


async def exhausted_limits(conn: Connection, batch_id: UUID) -> list[int]:
    """Give the gas limits with which a batch's transactions ran out of gas, the lowest first."""
    cursor = await conn.execute(_OUT_OF_GAS, [batch_id])
    return [limit for (limit,) in await cursor.fetchall()]


def _mined(inclusion: Inclusion | None) -> dict[str, object]:
    if inclusion is None:
        return {"hash": None, "number": None, "block_hash": None, "gas": None}
    return {
        "hash": inclusion.transaction_hash,
        "number": inclusion.block_number,
        "block_hash": inclusion.block_hash,
        "gas": inclusion.gas_used,
    }


# --- what was signed ---------------------------------------------------------------------------------------

_ATTEMPTS = """
SELECT hash, chain_tx_id, purpose, raw, gas_limit, max_fee_per_gas::text, max_priority_fee_per_gas::text,
       first_broadcast_at, first_broadcast_block, last_broadcast_at, last_broadcast_block, last_class, last_answer,
       refusals
FROM tx_attempts WHERE chain_tx_id = ANY(%s)
ORDER BY max_fee_per_gas, max_priority_fee_per_gas, created_at
"""

_ADD_ATTEMPT = """
INSERT INTO tx_attempts (hash, chain_tx_id, purpose, raw, gas_limit, max_fee_per_gas, max_priority_fee_per_gas,
                         created_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (hash) DO NOTHING
"""

_ANSWERED = """
UPDATE tx_attempts SET last_broadcast_at = %(at)s, last_broadcast_block = %(block)s,
       refusals = CASE WHEN %(in_pool)s THEN 0 WHEN last_class = %(class)s THEN refusals + 1 ELSE 1 END,
       last_class = %(class)s, last_answer = %(answer)s,
       first_broadcast_at = CASE WHEN %(in_pool)s THEN coalesce(first_broadcast_at, %(at)s) ELSE first_broadcast_at END,
       first_broadcast_block = CASE WHEN %(in_pool)s THEN coalesce(first_broadcast_block, %(block)s)
                                    ELSE first_broadcast_block END
WHERE hash = %(hash)s
RETURNING refusals
"""


async def _attempts(conn: Connection, slot_ids: list[UUID]) -> dict[UUID, tuple[Attempt, ...]]:
    """Give everything signed for these slots; each bump pays more, so the newest is the last of its list."""
    cursor = await conn.execute(_ATTEMPTS, [slot_ids])
    by_slot: dict[UUID, tuple[Attempt, ...]] = dict.fromkeys(slot_ids, ())
    for digest, slot_id, purpose, raw, gas_limit, max_fee, max_tip, *sent in await cursor.fetchall():
        first_at, first_block, last_at, last_block, last_class, answer, refusals = sent
        by_slot[slot_id] += (
            Attempt(
                digest,
                slot_id,
                Purpose(purpose),
                raw,
                gas_limit,
                fee_of(raw, int(max_fee), int(max_tip)),
                first_at,
                first_block,
                last_at,
                last_block,
                _class(last_class),
                answer,
                refusals,
            ),
        )
    return by_slot


def _class(name: str | None) -> AnswerClass | None:
    """The class of an answer; a class that this version does not know counts as unknown."""
    if name is None:
        return None
    return AnswerClass(name) if name in set(AnswerClass) else AnswerClass.UNKNOWN


async def add_attempt(conn: Connection, attempt: Attempt, at: datetime) -> None:
    """Keep a signed transaction, before anyone else sees it."""
    await conn.execute(
        _ADD_ATTEMPT,
        [
            attempt.hash,
            attempt.slot_id,
            attempt.purpose,
            attempt.raw,
            attempt.gas_limit,
            attempt.fee.max_fee,
            attempt.fee.max_tip,
            at,
        ],
    )


async def answered(
    conn: Connection, digest: bytes, kind: AnswerClass, answer: str | None, *, block: int, at: datetime
) -> int:
    """Note what nodes said when a transaction was sent, with the height of the head.

    Returns:
        How often in a row they have said so; 0 when one has it.

    """
    cursor = await conn.execute(
        _ANSWERED,
        {
            "hash": digest,
            "class": kind,
            "answer": answer,
            "in_pool": kind.in_pool,
            "block": block,
            "at": at,
        },
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
