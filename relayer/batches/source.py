"""The sender's source of calls: which batch is sent next, and what becomes of it."""

from datetime import timedelta
from uuid import UUID

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import repository
from relayer.batches.reasons import HoldReason, HumanReason
from relayer.chain.calls import Call, CallSource, Inclusion
from relayer.chain.registry import RegistryClient, RevertError
from relayer.model.clock import Clock
from relayer.store.registries import RegistryRow

# How often a paused registry is tried again.
HELD_FOR = timedelta(seconds=5)
# How long the event of a batch that is on chain already may take; past it the batch is tried again, in case the block
# that had it is gone.
EVENT_WITHIN = timedelta(minutes=1)

_DETAIL_CHARACTERS = 500

_log = structlog.get_logger(__name__)


class BatchSource(CallSource):
    """The sealed batches of one registry, oldest first."""

    def __init__(self, registry: RegistryRow, client: RegistryClient, clock: Clock) -> None:
        self._registry = registry
        self._client = client
        self._clock = clock

    async def next(self, conn: AsyncConnection[TupleRow]) -> Call | None:
        """Give the oldest batch that waits for a nonce, with its row locked."""
        batch_id = await repository.lock_next(conn, self._registry.id, self._clock())
        if batch_id is None:
            return None
        words = await repository.words_of(conn, batch_id)
        return Call(batch_id, self._registry.address, self._client.encode_confirm_batch(words))

    async def sending(self, conn: AsyncConnection[TupleRow], batch_id: UUID) -> None:
        """Note that a nonce is reserved for the batch."""
        await repository.set_sending(conn, batch_id)

    async def included(self, conn: AsyncConnection[TupleRow], batch_id: UUID, inclusion: Inclusion) -> None:
        """Note the block of the batch's transaction, as a hint."""
        await repository.set_included(
            conn,
            batch_id,
            transaction_hash=inclusion.transaction_hash,
            block_number=inclusion.block_number,
            block_hash=inclusion.block_hash,
            gas_used=inclusion.gas_used,
            at=self._clock(),
        )

    async def dropped(self, conn: AsyncConnection[TupleRow], batch_id: UUID) -> None:
        """Take the hint back: the block is no longer canonical."""
        await repository.set_sending(conn, batch_id)

    async def refused(
        self, conn: AsyncConnection[TupleRow], batch_id: UUID, error: RevertError | None, text: str
    ) -> None:
        """Decide by the registry's own error whether the batch waits, is confirmed already, or needs a human."""
        now = self._clock()
        detail = text[:_DETAIL_CHARACTERS]
        if error is not None and error.name == "EnforcedPause":
            await repository.set_held(conn, batch_id, HoldReason.PAUSED, detail, now + HELD_FOR)
            return
        reason = HumanReason.REVERTED
        if error is not None and error.name == "AlreadyConfirmed":
            if await self._client.batch(await repository.root_of(conn, batch_id)) is not None:
                await repository.set_sending(conn, batch_id, retry_at=now + EVENT_WITHIN)
                return
            # Our tickets are spent under a root that is not ours: somebody else holds them.
            reason = HumanReason.INTEGRITY
        await repository.set_needs_human(conn, batch_id, reason, detail)
        _log.error("batch_needs_human", batch=str(batch_id), reason=reason.value, detail=detail)
