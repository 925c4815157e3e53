"""What a final event of the registry means for batches and their jobs."""

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import repository
from relayer.chain.calls import FinalEvent
from relayer.chain.registry import BATCH_CONFIRMED_TOPIC, RegistryClient
from relayer.jobs.transition import Change, transition
from relayer.model.clock import Clock, utc_now
from relayer.model.lifecycle import JobState

# Bounds the size of one statement; all chunks of a batch are one transaction.
_CHUNK = 2_000

_log = structlog.get_logger(__name__)


async def on_batch_confirmed(
    conn: AsyncConnection[TupleRow], event: FinalEvent, clock: Clock = utc_now
) -> None:
    """Make the batch of a final `BatchConfirmed` final and its jobs confirmed. Applying it twice changes nothing.

    A root that is not ours was confirmed by another platform on the same registry; it is logged and left alone. So are,
    without a word, the registry's other events.
    """
    if event.topics[:1] != (BATCH_CONFIRMED_TOPIC,):
        return
    root = RegistryClient.decode_batch_confirmed(event.topics, event.data).root
    now = clock()
    batch_id = await repository.set_final(
        conn,
        chain_id=event.chain_id,
        registry=event.address,
        root=root,
        transaction_hash=event.transaction_hash,
        block_number=event.block_number,
        block_hash=event.block_hash,
        at=now,
    )
    if batch_id is None:
        _log.warning("foreign_batch_confirmed", root=f"0x{root.hex()}", block=event.block_number)
        return
    confirmed = 0
    while jobs := await repository.lock_confirming(conn, batch_id, _CHUNK):
        won = await transition(
            conn,
            [
                Change(
                    job_id=job_id,
                    version=version,
                    source=JobState.CONFIRMING,
                    target=JobState.CONFIRMED,
                    actor="indexer",
                )
                for job_id, version in jobs
            ],
            now,
        )
        assert len(won) == len(jobs), "a job moved while its row was locked"
        confirmed += len(won)
    _log.info("batch_final", batch=str(batch_id), block=event.block_number, jobs=confirmed)
