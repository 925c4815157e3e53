"""The rules of slots and batches that the database holds by itself, whatever the code does."""

from collections.abc import Sequence
from itertools import product
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest

from relayer.chain.slots import TRANSITIONS, UNMINED, SlotState
from relayer.model.ids import new_id
from relayer.store.database import Database

from .conftest import NOON, SealJobs

HASH = b"\x07" * 32
DEAD = (SlotState.REVERTED, SlotState.SUPERSEDED, SlotState.CANCELLED)


@pytest.fixture
async def batch(relayer_db: Database, seal_jobs: SealJobs) -> UUID:
    await seal_jobs([0, 1])
    async with relayer_db.transaction() as conn:
        row = await (await conn.execute("SELECT id FROM batches")).fetchone()
    assert row is not None
    return UUID(str(row[0]))


async def _run(db: Database, statement: LiteralString, values: Sequence[Any] = ()) -> None:
    async with db.transaction() as conn:
        await conn.execute(statement, values)


async def _slot(db: Database, batch: UUID, nonce: int, state: SlotState) -> UUID:
    """A slot, brought to a state by steps that are allowed."""
    slot = new_id()
    await _run(
        db,
        """INSERT INTO chain_txs (id, chain_id, sender, nonce, purpose, batch_id, target, calldata, state, lease_epoch,
                                  created_at, updated_at)
           VALUES (%s, 1, %s, %s, 'confirm_batch', %s, %s, '', 'reserved', 1, %s, %s)""",
        [slot, bytes(20), nonce, batch, bytes(20), NOON, NOON],
    )
    for step in _way(state):
        await _move(db, slot, step)
    return slot


def _way(target: SlotState) -> list[SlotState]:
    ways = {SlotState.RESERVED: [SlotState.RESERVED]}
    while target not in ways:
        for source, reached in TRANSITIONS:
            if source in ways and reached not in ways:
                ways[reached] = [*ways[source], reached]
    return ways[target][1:]


async def _move(db: Database, slot: UUID, state: SlotState, settled: int = 5) -> None:
    await _run(
        db,
        """UPDATE chain_txs SET state = %s, included_hash = %s, block_hash = %s, settled_number = %s, settled_hash = %s
           WHERE id = %s""",
        [state, HASH, HASH, settled, HASH, slot],
    )


RELEASE = """UPDATE batches SET state = 'released', reason = NULL, retry_at = NULL, released_number = %s,
                    released_hash = %s, released_block_time = %s"""


async def test_slots_move_only_as_they_may(relayer_db: Database, batch: UUID) -> None:
    nonce = 0
    for source, target in product(SlotState, SlotState):
        if source is target:
            continue
        slot = await _slot(relayer_db, batch, nonce, source)
        if (source, target) in TRANSITIONS:
            await _move(relayer_db, slot, target)
        else:
            with pytest.raises(psycopg.errors.CheckViolation, match=f"{source.value} -> {target.value}"):
                await _move(relayer_db, slot, target)
        nonce += 1
        # Only one slot of a batch may be open.
        reached = target if (source, target) in TRANSITIONS else source
        if reached is SlotState.INCLUDED:
            await _move(relayer_db, slot, SlotState.FINAL)
        elif reached in UNMINED:
            await _move(relayer_db, slot, SlotState.SUPERSEDED)


async def test_a_batch_has_one_open_slot_and_a_nonce_one_slot(relayer_db: Database, batch: UUID) -> None:
    slot = await _slot(relayer_db, batch, 0, SlotState.BROADCAST)
    with pytest.raises(psycopg.errors.UniqueViolation, match="one_open_slot"):
        await _slot(relayer_db, batch, 1, SlotState.RESERVED)
    await _move(relayer_db, slot, SlotState.SUPERSEDED)
    with pytest.raises(psycopg.errors.UniqueViolation, match="nonce"):
        await _slot(relayer_db, batch, 0, SlotState.RESERVED)
    with pytest.raises(psycopg.errors.CheckViolation, match="keeps its nonce"):
        await _run(relayer_db, "UPDATE chain_txs SET nonce = 9")
    with pytest.raises(psycopg.errors.CheckViolation, match="begins as reserved"):
        await _run(
            relayer_db,
            """INSERT INTO chain_txs SELECT %s, chain_id, sender, 7, purpose, batch_id, target, calldata, 'signed',
                      lease_epoch, NULL, NULL, NULL, NULL, created_at, updated_at FROM chain_txs""",
            [new_id()],
        )


@pytest.mark.parametrize("state", list(SlotState))
async def test_a_batch_is_released_only_when_its_slots_are_dead(
    relayer_db: Database, batch: UUID, state: SlotState
) -> None:
    await _slot(relayer_db, batch, 0, state)
    if state in DEAD:
        with pytest.raises(psycopg.errors.CheckViolation, match="nonce 0 may still land"):
            await _run(relayer_db, RELEASE, [4, HASH, NOON])
        await _run(relayer_db, RELEASE, [5, HASH, NOON])
        with pytest.raises(psycopg.errors.CheckViolation, match="settled and takes no nonce"):
            await _slot(relayer_db, batch, 1, SlotState.RESERVED)
    else:
        with pytest.raises(psycopg.errors.CheckViolation, match="nonce 0 may still land"):
            await _run(relayer_db, RELEASE, [5, HASH, NOON])


@pytest.mark.usefixtures("batch")
async def test_signatures_outlive_a_release_never(relayer_db: Database) -> None:
    await _run(relayer_db, "UPDATE batches SET deadline = %s", [NOON])
    with pytest.raises(psycopg.errors.CheckViolation, match="batches_released"):
        await _run(relayer_db, RELEASE, [5, HASH, NOON])
    with pytest.raises(psycopg.errors.CheckViolation, match="batches_released"):
        await _run(relayer_db, RELEASE, [None, None, None])
    await _run(relayer_db, "UPDATE batches SET deadline = %s", [NOON.replace(hour=11)])
    await _run(relayer_db, RELEASE, [5, HASH, NOON])


@pytest.mark.usefixtures("batch")
async def test_a_job_goes_back_only_from_a_released_batch(relayer_db: Database) -> None:
    back: LiteralString = "UPDATE jobs SET state = 'completed', batch_id = NULL"
    with pytest.raises(psycopg.errors.CheckViolation, match="is not released"):
        await _run(relayer_db, back)
    await _run(relayer_db, RELEASE, [5, HASH, NOON])
    await _run(relayer_db, back)


@pytest.mark.usefixtures("batch")
async def test_what_is_final_stays_it(relayer_db: Database) -> None:
    await _run(
        relayer_db,
        "UPDATE batches SET state = 'final', transaction_hash = %s, block_hash = %s, final_at = %s",
        [HASH, HASH, NOON],
    )
    for statement in ("UPDATE batches SET state = 'sealed'", "UPDATE batches SET state = 'sending'"):
        with pytest.raises(psycopg.errors.CheckViolation, match="is final"):
            await _run(relayer_db, statement)
