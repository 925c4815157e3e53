"""The sender's source of calls: which batch is sent next, and what becomes of it."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import registry_state, repository, sending_repository
from relayer.batches.reasons import HoldReason, HumanReason
from relayer.chain.calls import Call, CallSource, Cause, Inclusion, Leave, Refusal
from relayer.chain.node import Node
from relayer.chain.providers import Providers
from relayer.chain.registry import RegistryClient, RevertError
from relayer.model.clock import Clock
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

# How often what is held is tried again.
HELD_FOR = timedelta(seconds=5)
# The event of another quorum comes first; this is in case it was missed.
QUORUM_HELD_FOR = timedelta(minutes=1)
# How long the event of a batch that is on chain already may take; past it the batch is tried again, in case the block
# that had it is gone.
EVENT_WITHIN = timedelta(minutes=1)

_DETAIL_CHARACTERS = 500

_HOLDS = {Cause.FUNDS: HoldReason.FUNDS, Cause.FEE_CAP: HoldReason.FEE_CAP}
_HUMAN = {
    Cause.TOO_MUCH_GAS: HumanReason.GAS,
    Cause.UNKNOWN_ANSWER: HumanReason.UNKNOWN_ANSWER,
    Cause.NODE_LIMIT: HumanReason.NODE_LIMIT,
    Cause.SIGNATURE: HumanReason.SIGNATURE,
    Cause.OVERSIZED: HumanReason.SHAPE,
    Cause.SUPERSEDED: HumanReason.FOREIGN_NONCE,
    Cause.CANCELLED: HumanReason.CANCELLED,
    Cause.SPENT_ELSEWHERE: HumanReason.INTEGRITY,
}
# By the names of the registry's own errors (contracts/interfaces/IJobRegistry.sol).
_ERRORS = {
    "AccessControlUnauthorizedAccount": HumanReason.ROLE,
    "WordCountOutOfRange": HumanReason.SHAPE,
    "WordsNotAscending": HumanReason.SHAPE,
    "LanesDiffer": HumanReason.SHAPE,
    "EmptyMask": HumanReason.SHAPE,
    "EmptyRoot": HumanReason.SHAPE,
    "SignatureCountMismatch": HumanReason.SHAPE,
    "TooManySigners": HumanReason.SHAPE,
    "SignersNotAscending": HumanReason.SHAPE,
    "InvalidSignature": HumanReason.BUSINESS,
    "DeadlinePassed": HumanReason.BUSINESS,
}

_log = structlog.get_logger(__name__)


class BatchSource(CallSource):
    """The sealed batches of one registry, oldest first."""

    def __init__(self, db: Database, registry: RegistryRow, providers: Providers, clock: Clock) -> None:
        self._db = db
        self._registry = registry
        self._providers = providers
        self._clock = clock

    async def next(self, conn: AsyncConnection[TupleRow]) -> Call | None:
        """Give the oldest batch that waits for a nonce, unless the registry's state holds all of them."""
        if await registry_state.enforce(conn, self._registry.id) is not None:
            return None
        batch_id = await repository.lock_next(conn, self._registry.id, self._clock())
        if batch_id is None:
            return None
        words = await repository.words_of(conn, batch_id)
        return Call(batch_id, self._registry.address, RegistryClient.encode_confirm_batch(words))

    async def leave(
        self, conn: AsyncConnection[TupleRow], batch_id: UUID, refusal: Refusal | None = None
    ) -> Leave:
        """Say whether a batch still wants the nonce that was taken for it, and may use it now.

        What waits for the quorum of its lane lets the nonce go: other lanes wait behind it.
        """
        standing = await sending_repository.lock_standing(conn, batch_id)
        if standing.state == "included":
            # Its event was seen, whoever sent it, in a block that may be taken back.
            return Leave.WAIT
        if standing.state not in ("sealed", "held", "sending"):
            return Leave.GONE
        if await registry_state.enforce(conn, self._registry.id) is not None:
            return Leave.WAIT
        if refusal is not None and self._hold(refusal) is HoldReason.QUORUM:
            await self._set_held(conn, batch_id, HoldReason.QUORUM, refusal)
            standing = replace(standing, reason=HoldReason.QUORUM)
        if standing.reason == HoldReason.QUORUM:
            return Leave.GONE
        if standing.retry_at is not None and standing.retry_at > self._clock():
            return Leave.WAIT
        await repository.set_sending(conn, batch_id)
        return Leave.GO

    async def halted(self, conn: AsyncConnection[TupleRow], trouble: str) -> None:
        """Hold what waits for a nonce until there is a node to rely on."""
        detail = trouble[:_DETAIL_CHARACTERS]
        retry_at = self._clock() + HELD_FOR
        for batch_id in await sending_repository.hold_sealed(
            conn, self._registry.id, HoldReason.PROVIDER, detail, retry_at
        ):
            _log.warning("batch_held", batch=str(batch_id), reason=HoldReason.PROVIDER.value, detail=detail)

    async def sending(self, conn: AsyncConnection[TupleRow], batch_id: UUID) -> bool:
        """Note that a nonce is reserved for the batch, unless it or its registry was stopped meanwhile."""
        if await registry_state.enforce(conn, self._registry.id) is not None:
            return False
        return await sending_repository.take(conn, batch_id, self._clock())

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

    async def weigh(self, batch_id: UUID, refusal: Refusal) -> Refusal:
        """Ask the registry whether a refused batch is confirmed already, or its tickets are somebody else's."""
        already = refusal.error if refusal.error and refusal.error.name == "AlreadyConfirmed" else None
        if already is None and refusal.cause is not Cause.SUPERSEDED:
            return refusal
        async with self._db.transaction() as conn:
            root = await repository.root_of(conn, batch_id)
        if already is not None:
            spent_elsewhere = await self._is_spent_elsewhere(root, already)
            return replace(refusal, cause=Cause.SPENT_ELSEWHERE if spent_elsewhere else Cause.CONFIRMED)
        return replace(refusal, cause=Cause.CONFIRMED) if await self._is_confirmed(root) else refusal

    async def refused(self, conn: AsyncConnection[TupleRow], batch_id: UUID, refusal: Refusal) -> None:
        """Decide whether the batch waits, is sent again, is confirmed already, or needs a human."""
        if refusal.cause is Cause.OUT_OF_GAS:
            await sending_repository.set_sealed(conn, batch_id)
            return
        if hold := self._hold(refusal):
            await self._set_held(conn, batch_id, hold, refusal)
            return
        if refusal.cause in (Cause.CANCELLED, Cause.CONFIRMED):
            standing = await sending_repository.lock_standing(conn, batch_id)
            if standing.state in ("needs_human", "final"):
                # It was stopped for another reason, which says more, or somebody else has confirmed it.
                return
            if refusal.cause is Cause.CANCELLED and standing.reason == HoldReason.QUORUM:
                return
        if refusal.cause is Cause.CONFIRMED:
            await repository.set_sending(conn, batch_id, retry_at=self._clock() + EVENT_WITHIN)
            return
        reason = self._human_reason(refusal)
        detail = refusal.text[:_DETAIL_CHARACTERS]
        await repository.set_needs_human(conn, batch_id, reason, detail)
        _log.error("batch_needs_human", batch=str(batch_id), reason=reason.value, detail=detail)

    @staticmethod
    def _hold(refusal: Refusal) -> HoldReason | None:
        error = None if refusal.error is None else refusal.error.name
        if refusal.cause in (Cause.REVERTS, Cause.REVERTED):
            if error == "EnforcedPause":
                return HoldReason.PAUSED
            if error in ("LaneClosed", "QuorumNotReached"):
                return HoldReason.QUORUM
        if refusal.cause is Cause.REVERTS and error == "AccessControlUnauthorizedAccount":
            # No nonce was used; the batch goes on when the role is given back.
            return HoldReason.ROLE_LOST
        return _HOLDS.get(refusal.cause)

    @staticmethod
    def _human_reason(refusal: Refusal) -> HumanReason:
        if (reason := _HUMAN.get(refusal.cause)) is not None:
            return reason
        return (
            HumanReason.REVERTED
            if refusal.error is None
            else _ERRORS.get(refusal.error.name, HumanReason.REVERTED)
        )

    async def _set_held(
        self, conn: AsyncConnection[TupleRow], batch_id: UUID, hold: HoldReason, refusal: Refusal
    ) -> None:
        detail = refusal.text[:_DETAIL_CHARACTERS]
        held_for = QUORUM_HELD_FOR if hold is HoldReason.QUORUM else HELD_FOR
        if await repository.set_held(conn, batch_id, hold, detail, self._clock() + held_for):
            _log.warning("batch_held", batch=str(batch_id), reason=hold.value, detail=detail)

    async def _is_confirmed(self, root: bytes) -> bool:
        registry = RegistryClient(self._providers.pinned(), self._registry.chain_id, self._registry.address)
        return await registry.batch(root, "finalized") is not None

    async def _is_spent_elsewhere(self, root: bytes, error: RevertError) -> bool:
        """Whether our tickets are spent, for good, under a root that is not ours: then somebody else holds them.

        What was spent in a block that is not final may be anybody's yet. Bits and root are read at one block: of two
        machines behind one address the second may lag.
        """
        index, overlap = error.args
        rpc = self._providers.pinned()
        if (finalized := await Node(rpc).block("finalized")) is None:
            raise rpc.nonsense("it has no finalized block")
        at = {"blockHash": f"0x{finalized.hash.hex()}", "requireCanonical": True}
        registry = RegistryClient(rpc, self._registry.chain_id, self._registry.address)
        spent, _ = await registry.word(index, at)
        return bool(spent & overlap) and await registry.batch(root, at) is None
