"""Signing for nonces and handing the bytes to nodes. Bytes are kept before any node sees them, and kept for ever."""

from dataclasses import replace
from uuid import UUID

import structlog
from eth_hash.backends.pysha3 import keccak256

from relayer.chain import slot_repository as repository
from relayer.chain.answers import AnswerClass, strongest
from relayer.chain.calls import CallSource, Cause, Leave, Refusal
from relayer.chain.fee import Fee
from relayer.chain.fees import Fees
from relayer.chain.ledger import Ledger, View
from relayer.chain.providers import Providers, SendAnswer
from relayer.chain.sender_metrics import SenderMetrics
from relayer.chain.signer import Signer
from relayer.chain.simulation import RefusedError, Simulation
from relayer.chain.slots import NOTHING_GAS, Attempt, Purpose, Slot, SlotState
from relayer.chain.transaction import TransactionFields
from relayer.model.clock import Clock

# What the pool refuses for now is tried again with every block.
_WITH_NEXT_BLOCK = (AnswerClass.POOL_FULL, AnswerClass.POOL_BUSY, AnswerClass.NONCE_GAP)
_CAUSES = {
    AnswerClass.GAS_TOO_LOW: Cause.TOO_MUCH_GAS,
    AnswerClass.GAS_TOO_HIGH: Cause.TOO_MUCH_GAS,
    AnswerClass.NODE_LIMIT: Cause.NODE_LIMIT,
    AnswerClass.SIGNATURE: Cause.SIGNATURE,
    AnswerClass.OVERSIZED: Cause.OVERSIZED,
    AnswerClass.UNKNOWN: Cause.UNKNOWN_ANSWER,
}

_log = structlog.get_logger(__name__)


class Posting:
    """Sends what is stored, and signs what is not yet."""

    def __init__(
        self,
        ledger: Ledger,
        providers: Providers,
        *,
        signer: Signer,
        source: CallSource,
        fees: Fees,
        simulation: Simulation,
        metrics: SenderMetrics,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._providers = providers
        self._signer = signer
        self._source = source
        self._fees = fees
        self._simulation = simulation
        self._metrics = metrics
        self._clock = clock
        self._epoch: int | None = None

    async def resend(self, view: View) -> int:
        """Send what is new or was sent long ago, lowest nonce first, and sign what was only reserved.

        In the first pass of an epoch everything goes out again: who led before may have died before he sent it.

        Returns:
            How much was signed, sent or refused.

        """
        takes_over = view.epoch != self._epoch
        slots = await self._ledger.load()
        done = 0
        for slot in slots:
            if (newest := self._sendable(slot)) and (takes_over or self._due(newest, view)):
                done += (await self._send(view, slot, newest)).in_pool
        self._epoch = view.epoch
        # What is stored needs no signer, and does not wait for one.
        for slot in slots:
            if slot.state is SlotState.RESERVED:
                done += await self._begin(view, slot)
        return done

    async def sign_and_send(self, view: View, slot: Slot, *, gas: int, fee: Fee) -> AnswerClass:
        """Sign for a nonce what it is for, keep the bytes, and only then send them."""
        target, calldata = slot.target, slot.calldata
        if slot.purpose is not Purpose.CONFIRM_BATCH:
            target, calldata = self._ledger.account.address, b""
        fields = TransactionFields(self._ledger.account.chain_id, slot.nonce, target, calldata, gas, fee)
        with self._metrics.signing():
            raw = await self._signer.sign(fields)
        attempt = Attempt(keccak256(raw), slot.id, slot.purpose, raw, gas, fee)
        async with self._ledger.write(view.epoch) as entry:
            before = (SlotState.RESERVED, SlotState.SIGNED, SlotState.BROADCAST)
            if not await repository.move(entry.conn, slot.id, SlotState.SIGNED, before, entry.stamp):
                return AnswerClass.NONCE_TOO_LOW
            await repository.add_attempt(entry.conn, attempt, entry.stamp.at)
        self._metrics.signed()
        signed = replace(slot, state=SlotState.SIGNED, attempts=(*slot.attempts, attempt))
        return await self._send(view, signed, attempt)

    async def _begin(self, view: View, slot: Slot) -> int:
        """Sign for a nonce that was taken, unless its batch is held or does not want it any more."""
        gas = NOTHING_GAS
        if (batch_id := slot.batch_id) is not None and slot.purpose is Purpose.CONFIRM_BATCH:
            leave = await self._leave(view, slot, batch_id)
            if leave is Leave.WAIT:
                return 0
            if leave is Leave.GONE:
                slot = replace(slot, purpose=Purpose.CANCEL)
            else:
                try:
                    gas = await self._simulation.gas(view.rpc, slot.target, slot.calldata)
                except RefusedError as refused:
                    refusal = await self._source.weigh(batch_id, refused.refusal)
                    async with self._ledger.write(view.epoch) as entry:
                        await self._source.refused(entry.conn, batch_id, refusal)
                    return 1
        market = await self._fees.market(view.rpc)
        fee = market.bid(self._fees.ceiling(market, gas=gas, balance=view.account.balance).amount)
        await self.sign_and_send(view, slot, gas=gas, fee=fee)
        return 1

    async def gives_way(self, view: View, slot: Slot, refusal: Refusal) -> bool:
        """Let a nonce be used up by nothing where its batch does not want it any more, as the call would end: others wait behind it."""
        return (
            slot.batch_id is not None and await self._leave(view, slot, slot.batch_id, refusal) is Leave.GONE
        )

    async def _leave(self, view: View, slot: Slot, batch_id: UUID, refusal: Refusal | None = None) -> Leave:
        async with self._ledger.write(view.epoch) as entry:
            leave = await self._source.leave(entry.conn, batch_id, refusal)
            if leave is Leave.GONE:
                await repository.cancel(entry.conn, slot.id, entry.stamp)
        return leave

    @staticmethod
    def _sendable(slot: Slot) -> Attempt | None:
        newest = slot.newest if slot.is_unmined else None
        if newest is None or not slot.asks_for_a_human:
            return newest
        # What nobody understands may be over while a human is awaited, and others wait behind it; the bytes are the same.
        return newest if newest.last_class is AnswerClass.UNKNOWN else None

    def _due(self, attempt: Attempt, view: View) -> bool:
        if attempt.last_broadcast_at is None or attempt.last_class is AnswerClass.UNAVAILABLE:
            return True
        if attempt.last_class in _WITH_NEXT_BLOCK:
            return view.account.latest.number > (attempt.last_broadcast_block or 0)
        if attempt.last_class is AnswerClass.NO_FUNDS:
            can_pay = view.account.balance >= attempt.gas_limit * attempt.fee.max_fee
            return can_pay and view.account.latest.number > (attempt.last_broadcast_block or 0)
        return self._clock() - attempt.last_broadcast_at >= self._fees.pace.resend_after

    async def _send(self, view: View, slot: Slot, attempt: Attempt) -> AnswerClass:
        """Hand stored bytes to the nodes, and note what they say together."""
        answers = await self._providers.broadcast(attempt.raw)
        kind = strongest(answer.kind for answer in answers)
        text = "; ".join(f"{answer.address}: {answer.text}" for answer in answers if answer.text) or None
        self._tell(slot, attempt, kind, answers)
        others = tuple(one for one in slot.attempts if one.hash != attempt.hash)
        answered = replace(slot, attempts=(*others, replace(attempt, last_class=kind, last_answer=text)))
        outcome = kind
        if (cheaper := await self._under_node_cap(view, answered, attempt)) is not None:
            _log.warning("under_node_cap", nonce=slot.nonce, max_fee=cheaper.max_fee, answer=text)
            # Before the refusal is kept: whoever follows a death in between has the dear one refused again, and goes on.
            outcome = await self.sign_and_send(view, answered, gas=attempt.gas_limit, fee=cheaper)
        async with self._ledger.write(view.epoch) as entry:
            refusals = await repository.answered(
                entry.conn,
                attempt.hash,
                kind,
                text,
                block=view.account.latest.number,
                at=entry.stamp.at,
            )
            if kind.in_pool:
                await repository.move(
                    entry.conn, slot.id, SlotState.BROADCAST, [SlotState.SIGNED], entry.stamp
                )
            counted = replace(answered.attempts[-1], refusals=refusals)
            stands = replace(slot, attempts=(*others, counted))
            if cheaper is None and stands.asks_for_a_human and not slot.asks_for_a_human:
                _log.critical("slot_needs_human", nonce=slot.nonce, answer_class=kind.value, answer=text)
                if slot.batch_id is not None:
                    refusal = Refusal(_CAUSES[kind], f"nonce {slot.nonce}: {text}")
                    await self._source.refused(entry.conn, slot.batch_id, refusal)
        return outcome

    async def _under_node_cap(self, view: View, slot: Slot, refused: Attempt) -> Fee | None:
        """Give what the market still takes where nodes refuse the only transaction of a nonce because of a cap of their own.

        Nothing of the nonce is in a pool then, so that nothing has to be outbid. Tried once: then a human.
        """
        if (cap := slot.node_cap) is None or len(slot.attempts) > 1:
            return None
        market = await self._fees.market(view.rpc)
        ceiling = self._fees.ceiling(
            market, gas=refused.gas_limit, balance=view.account.balance, node_cap=cap
        )
        cheaper = market.bid(ceiling.amount)
        return cheaper if market.ask <= cheaper.max_fee < refused.fee.max_fee else None

    def _tell(self, slot: Slot, attempt: Attempt, kind: AnswerClass, answers: list[SendAnswer]) -> None:
        for answer in answers:
            self._metrics.answered(answer.kind)
        if not kind.in_pool:
            _log.warning(
                "transaction_not_taken",
                nonce=slot.nonce,
                hash=f"0x{attempt.hash.hex()}",
                answer_class=kind.value,
                answers=[f"{one.address}: {one.kind}: {one.text}" for one in answers],
            )
        elif any(one.kind.is_hopeless for one in answers):
            _log.error(
                "nodes_contradict_each_other",
                nonce=slot.nonce,
                answers=[f"{one.address}: {one.kind}" for one in answers],
            )
