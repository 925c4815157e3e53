"""All SQL of what operators see and do about batches that wait."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.chain.node import Block


@dataclass(frozen=True)
class WaitingBatch:
    """A batch that is held or needs a human; `nonce` and `slot_state` are those of its open slot, if it has one."""

    id: UUID
    chain_id: int
    registry: bytes
    root: bytes
    state: str
    reason: str | None
    detail: str | None
    jobs: int
    sealed_at: datetime
    retry_at: datetime | None
    deadline: datetime | None
    nonce: int | None
    slot_state: str | None
    slot_purpose: str | None


@dataclass(frozen=True)
class SlotRow:
    """A nonce that was taken for a batch, and where it was settled."""

    id: UUID
    nonce: int
    purpose: str
    state: str
    block_number: int | None
    settled_number: int | None
    updated_at: datetime


@dataclass(frozen=True)
class AttemptRow:
    """What was signed for a slot, and what nodes last said to it. Fees in wei for a unit of gas."""

    hash: bytes
    slot_id: UUID
    purpose: str
    gas_limit: int
    max_fee: Decimal
    max_tip: Decimal
    created_at: datetime
    last_broadcast_at: datetime | None
    last_class: str | None
    last_answer: str | None
    refusals: int


_BATCH = """
SELECT b.id, r.chain_id, r.address AS registry, b.root, b.state, b.reason, b.detail, b.leaf_count AS jobs, b.sealed_at,
       b.retry_at, b.deadline, t.nonce, t.state AS slot_state, t.purpose AS slot_purpose
FROM batches b JOIN registries r ON r.id = b.registry_id
LEFT JOIN chain_txs t ON t.batch_id = b.id AND t.state IN ('reserved', 'signed', 'broadcast', 'included')
"""

_ATTEMPTS = """
SELECT a.hash, a.chain_tx_id AS slot_id, a.purpose, a.gas_limit, a.max_fee_per_gas AS max_fee,
       a.max_priority_fee_per_gas AS max_tip, a.created_at, a.last_broadcast_at, a.last_class, a.last_answer, a.refusals
FROM tx_attempts a JOIN chain_txs t ON t.id = a.chain_tx_id
WHERE t.batch_id = %s ORDER BY t.nonce, a.max_fee_per_gas, a.created_at
"""

_TRY_AGAIN = """
UPDATE tx_attempts a SET refusals = 0, last_class = NULL, last_broadcast_at = NULL
FROM chain_txs t
WHERE t.id = a.chain_tx_id AND t.batch_id = %s AND t.state IN ('reserved', 'signed', 'broadcast')
"""


async def waiting(conn: AsyncConnection[TupleRow]) -> list[WaitingBatch]:
    """Give what is held or needs a human, the oldest first."""
    async with conn.cursor(row_factory=class_row(WaitingBatch)) as cursor:
        await cursor.execute(f"{_BATCH} WHERE b.state IN ('held', 'needs_human') ORDER BY b.sealed_at, b.id")
        return await cursor.fetchall()


async def batch(conn: AsyncConnection[TupleRow], batch_id: UUID) -> WaitingBatch | None:
    """Give a batch in whatever state."""
    async with conn.cursor(row_factory=class_row(WaitingBatch)) as cursor:
        await cursor.execute(f"{_BATCH} WHERE b.id = %s", [batch_id])
        return await cursor.fetchone()


async def lock(conn: AsyncConnection[TupleRow], batch_id: UUID) -> WaitingBatch | None:
    """Lock a batch, and then give it as it is: nothing takes a nonce for it, or moves it, until the end."""
    await conn.execute("SELECT 1 FROM batches WHERE id = %s FOR UPDATE", [batch_id])
    return await batch(conn, batch_id)


async def slots(conn: AsyncConnection[TupleRow], batch_id: UUID) -> list[SlotRow]:
    """Give every nonce that was taken for a batch."""
    async with conn.cursor(row_factory=class_row(SlotRow)) as cursor:
        await cursor.execute(
            """SELECT id, nonce, purpose, state, block_number, settled_number, updated_at
               FROM chain_txs WHERE batch_id = %s ORDER BY nonce""",
            [batch_id],
        )
        return await cursor.fetchall()


async def attempts(conn: AsyncConnection[TupleRow], batch_id: UUID) -> list[AttemptRow]:
    """Give everything that was signed for a batch."""
    async with conn.cursor(row_factory=class_row(AttemptRow)) as cursor:
        await cursor.execute(_ATTEMPTS, [batch_id])
        return await cursor.fetchall()


async def set_sealed(conn: AsyncConnection[TupleRow], batch_id: UUID) -> None:
    """Let a batch wait for a nonce."""
    await conn.execute(
        "UPDATE batches SET state = 'sealed', reason = NULL, detail = NULL, retry_at = NULL WHERE id = %s",
        [batch_id],
    )


async def set_sending(conn: AsyncConnection[TupleRow], batch_id: UUID) -> None:
    """Let what was signed for a batch be sent again, however often nodes refused it."""
    await conn.execute(
        "UPDATE batches SET state = 'sending', reason = NULL, detail = NULL, retry_at = NULL WHERE id = %s",
        [batch_id],
    )
    await conn.execute(_TRY_AGAIN, [batch_id])


async def send_again(conn: AsyncConnection[TupleRow], slot_id: UUID) -> None:
    """Let what was signed for a nonce be sent again, however often nodes refused it."""
    await conn.execute(
        "UPDATE tx_attempts SET refusals = 0, last_class = NULL, last_broadcast_at = NULL WHERE chain_tx_id = %s",
        [slot_id],
    )


async def set_cancelled(conn: AsyncConnection[TupleRow], batch_id: UUID, detail: str) -> None:
    """Stop a batch that has no nonce."""
    await conn.execute(
        """UPDATE batches SET state = 'needs_human', reason = 'cancelled', detail = %s, retry_at = NULL
           WHERE id = %s""",
        [detail, batch_id],
    )


async def cancel_slot(conn: AsyncConnection[TupleRow], batch_id: UUID, at: datetime) -> bool:
    """Let a batch's nonce be used up by nothing; False if its call is mined already."""
    cursor = await conn.execute(
        """UPDATE chain_txs SET purpose = 'cancel', updated_at = %s
           WHERE batch_id = %s AND purpose = 'confirm_batch' AND state IN ('reserved', 'signed', 'broadcast')""",
        [at, batch_id],
    )
    return cursor.rowcount == 1


async def set_released(conn: AsyncConnection[TupleRow], batch_id: UUID, finalized: Block) -> None:
    """Release a batch; the database refuses it as long as anything that was signed for it may land."""
    await conn.execute(
        """UPDATE batches SET state = 'released', reason = NULL, detail = NULL, retry_at = NULL,
                  released_number = %s, released_hash = %s, released_block_time = %s, returned_at = NULL
           WHERE id = %s""",
        [finalized.number, finalized.hash, finalized.mined_at, batch_id],
    )


async def returning(conn: AsyncConnection[TupleRow]) -> list[UUID]:
    """Give the released batches whose jobs have not all gone back."""
    cursor = await conn.execute(
        "SELECT id FROM batches WHERE state = 'released' AND returned_at IS NULL ORDER BY id"
    )
    return [batch_id for (batch_id,) in await cursor.fetchall()]


async def lock_released(conn: AsyncConnection[TupleRow], batch_id: UUID) -> bool:
    """Lock a batch; False if it is not released any more, because its jobs were sealed together again."""
    cursor = await conn.execute("SELECT state FROM batches WHERE id = %s FOR UPDATE", [batch_id])
    row = await cursor.fetchone()
    return row is not None and row[0] == "released"


async def set_returned(conn: AsyncConnection[TupleRow], batch_id: UUID, at: datetime) -> None:
    """Note that all jobs of a released batch have gone back."""
    await conn.execute("UPDATE batches SET returned_at = %s WHERE id = %s", [at, batch_id])
