"""What a final event of the registry means for batches and their jobs. Applying it twice changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import foreign_repository, repository
from relayer.batches.foreign import import_foreign
from relayer.batches.leaving import move_some
from relayer.chain.calls import FinalEvent
from relayer.chain.registry import BATCH_CONFIRMED_TOPIC, JOBS_REVOKED_TOPIC, RegistryClient
from relayer.jobs import revocation_repository
from relayer.model.clock import Clock, utc_now
from relayer.model.lifecycle import JobState
from relayer.seal.tree import WORD_TICKETS

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Confirmation:
    """Where a root was confirmed for good."""

    chain_id: int
    registry: bytes
    root: bytes
    transaction_hash: bytes
    block_number: int
    block_hash: bytes


async def on_final_event(conn: AsyncConnection[TupleRow], event: FinalEvent, clock: Clock = utc_now) -> None:
    """Apply a final event of the registry; those that only change what it is are observed at the head."""
    match event.topics[:1]:
        case (topic,) if topic == BATCH_CONFIRMED_TOPIC:
            await on_batch_confirmed(conn, event, clock)
        case (topic,) if topic == JOBS_REVOKED_TOPIC:
            await on_jobs_revoked(conn, event, clock)


async def on_batch_confirmed(
    conn: AsyncConnection[TupleRow], event: FinalEvent, clock: Clock = utc_now
) -> None:
    """Make the batch of a final `BatchConfirmed` final and its jobs confirmed; import it where its root is not ours.

    Who sent the transaction does not matter: where the root is ours, so are its jobs.
    """
    if event.topics[:1] != (BATCH_CONFIRMED_TOPIC,):
        return
    batch = RegistryClient.decode_batch_confirmed(event.topics, event.data)
    confirmation = Confirmation(
        chain_id=event.chain_id,
        registry=event.address,
        root=batch.root,
        transaction_hash=event.transaction_hash,
        block_number=event.block_number,
        block_hash=event.block_hash,
    )
    now = clock()
    if not await confirm(conn, confirmation, now):
        await import_foreign(conn, event, batch, now)


async def confirm(conn: AsyncConnection[TupleRow], confirmation: Confirmation, at: datetime) -> bool:
    """Make a batch of ours final and its jobs confirmed; False where no batch of ours has this root."""
    batch_id = await repository.set_final(
        conn,
        chain_id=confirmation.chain_id,
        registry=confirmation.registry,
        root=confirmation.root,
        transaction_hash=confirmation.transaction_hash,
        block_number=confirmation.block_number,
        block_hash=confirmation.block_hash,
        at=at,
    )
    if batch_id is None:
        return False
    confirmed = 0
    # All of a batch is one transaction.
    while moved := await move_some(conn, batch_id, JobState.CONFIRMED, actor="indexer", at=at):
        confirmed += moved
    _log.info("batch_final", batch=str(batch_id), block=confirmation.block_number, jobs=confirmed)
    return True


async def on_jobs_revoked(conn: AsyncConnection[TupleRow], event: FinalEvent, clock: Clock) -> None:
    """Note the revocations of a final `JobsRevoked` on the confirmed jobs that hold the tickets."""
    masks = RegistryClient.decode_jobs_revoked(event.topics, event.data)
    registry = await foreign_repository.registry_id(conn, event.chain_id, event.address)
    if registry is None:
        return
    revoked = await revocation_repository.mark_revoked(
        conn, registry, _tickets(masks), event.block_time, clock()
    )
    _log.warning("jobs_revoked", registry=registry, reason=f"0x{event.topics[2].hex()}", jobs=revoked)


def _tickets(masks: Mapping[int, int]) -> list[int]:
    return [
        index * WORD_TICKETS + position
        for index, mask in masks.items()
        for position in range(WORD_TICKETS)
        if mask >> position & 1
    ]
