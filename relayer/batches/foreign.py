"""What others confirm on the same registry: it is imported, and where it holds our tickets a human has to look."""

from datetime import datetime

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import foreign_repository as repository
from relayer.batches import registry_state
from relayer.batches.burnt import run_anew
from relayer.batches.burnt_repository import jobs_by_id
from relayer.chain.calls import FinalEvent
from relayer.chain.registry import BatchConfirmed
from relayer.model.lifecycle import JobState
from relayer.seal.commitment import bit, word
from relayer.seal.tree import WORD_TICKETS, Word
from relayer.store import ticket_repository

# Words so far ahead of what is given out are left alone: jumping past whatever anybody with the role names could use up
# a lane for good. They are met, if ever, as spent tickets.
_FARTHEST_JUMP = 1 << 24

_REMEDY = "run `jobseal admin rebuild`, then `jobseal admin thaw`"

_log = structlog.get_logger(__name__)


async def import_foreign(
    conn: AsyncConnection[TupleRow], event: FinalEvent, batch: BatchConfirmed, at: datetime
) -> None:
    """Keep a final batch whose root is not ours, stop what of ours it makes impossible, and skip its words.

    Which of our tickets are burnt is noted. Finished jobs among them run anew; sealed ones stay in their batch until a
    human has looked at it, and unfinished ones run to their end first. Doing it twice changes nothing.
    """
    registry = await repository.registry_id(conn, event.chain_id, event.address)
    if registry is None or not await repository.insert_external(conn, registry, event, batch):
        return
    root = f"0x{batch.root.hex()}"
    _log.warning("external_batch", root=root, submitter=f"0x{batch.submitter.hex()}", jobs=batch.jobs)
    # First, so that what runs anew gets a ticket beyond.
    await _skip(conn, registry, batch.lane, batch.words[-1])
    if await repository.is_of_our_own(conn, registry, batch.root, batch.submitter):
        # The database has lost it, or has given it up: its jobs are confirmed, and running them anew would repeat them.
        await registry_state.freeze(
            conn, registry, f"the root {root} is final and our own, and not known as sent: {_REMEDY}"
        )
        return
    masks = {one.index: one.mask for one in batch.words}
    burnt = [
        (ticket, job_id)
        for ticket, job_id in await repository.jobs_in_words(conn, registry, list(masks))
        if masks[word(ticket)] >> bit(ticket) & 1
    ]
    if burnt:
        # Locked, so that none is being sealed meanwhile: either it is not in a batch, or the batch is stopped below.
        held = await jobs_by_id(conn, registry, [job_id for _, job_id in burnt])
        await repository.insert_burnt(conn, registry, batch.root, burnt, at)
        tickets = [ticket for ticket, _ in burnt]
        detail = f"{len(burnt)} of our tickets were confirmed under the foreign root {root}"
        stopped = await repository.stop_batches_with(conn, registry, tickets, detail)
        finished = [job for job in held.values() if job.state is JobState.COMPLETED]
        await run_anew(conn, finished, actor="indexer", at=at)
        _log.critical("tickets_burnt", root=root, tickets=len(burnt), batches=[str(one) for one in stopped])


async def _skip(conn: AsyncConnection[TupleRow], registry: int, lane: int, last: Word) -> None:
    drawn = await repository.next_ticket(conn, registry, lane)
    if drawn is None:
        return
    highest = last.index * WORD_TICKETS + WORD_TICKETS - 1
    if highest - drawn > _FARTHEST_JUMP:
        _log.error("foreign_words_far_ahead", registry=registry, lane=lane, tickets=highest - drawn)
    elif highest >= drawn:
        await ticket_repository.set_past(conn, registry, highest)
