"""Replacing stuck transactions, on the same nonces, by ones that pay more. A nonce is never given up."""

from uuid import UUID

import structlog

from relayer.chain.answers import AnswerClass
from relayer.chain.fee import Fee, Keep, Market
from relayer.chain.fees import Fees
from relayer.chain.gas import MAX_GAS
from relayer.chain.ledger import Ledger, View
from relayer.chain.posting import Posting
from relayer.chain.sender_metrics import SenderMetrics
from relayer.chain.simulation import RefusedError, Simulation
from relayer.chain.slots import NOTHING_GAS, Attempt, Purpose, Slot
from relayer.model.clock import Clock

_MOST_ATTEMPTS = 10
# What nodes did not take, and take if it pays more.
_REFUSED = (AnswerClass.UNDERPRICED, AnswerClass.REPLACEMENT, AnswerClass.GAS_TOO_LOW)

_log = structlog.get_logger(__name__)


class Bumping:
    """Decides what is stuck, and signs its replacement."""

    def __init__(
        self,
        ledger: Ledger,
        posting: Posting,
        *,
        fees: Fees,
        simulation: Simulation,
        metrics: SenderMetrics,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._posting = posting
        self._fees = fees
        self._simulation = simulation
        self._metrics = metrics
        self._clock = clock
        self._said: dict[UUID, tuple[str, int, int]] = {}
        # What stayed as it is, by the block at which that was decided: no market is another before the next one.
        self._weighed: dict[UUID, tuple[bytes, Purpose, int, int]] = {}

    async def bump(self, view: View) -> int:
        """Replace what is stuck; what is at the cap, or pays enough, stays as it is and is sent again.

        What was used up in the latest block, by whatever, cannot be replaced as long as that block stands.

        Returns:
            How many were replaced.

        """
        stuck = []
        slots = await self._ledger.load()
        self._said = {slot.id: self._said[slot.id] for slot in slots if slot.id in self._said}
        self._weighed = {slot.id: self._weighed[slot.id] for slot in slots if slot.id in self._weighed}
        for slot in slots:
            waits = slot.is_unmined and bool(slot.attempts) and not slot.asks_for_a_human
            if slot.nonce < view.account.nonce or self._weighed.get(slot.id) == _standing(slot, view):
                continue
            if waits and await self._is_stuck(view, slot):
                stuck.append(slot)
        if not stuck:
            return 0
        market = await self._fees.market(view.rpc)
        bumped = 0
        for slot in stuck:
            if await self._replace(view, slot, market):
                bumped += 1
            else:
                self._weighed[slot.id] = _standing(slot, view)
        return bumped

    async def _is_stuck(self, view: View, slot: Slot) -> bool:
        if (newest := slot.newest) is None:
            # The batch's transaction is to make way for one of nothing.
            return True
        if len(slot.own) >= _MOST_ATTEMPTS:
            if self._waits_too_long(view, slot, newest) and self._is_news(slot, "exhausted"):
                self._metrics.exhausted()
                _log.critical("bumps_exhausted", nonce=slot.nonce, attempts=len(slot.own))
            return False
        if newest.last_class in (AnswerClass.UNDERPRICED, AnswerClass.GAS_TOO_LOW):
            return True
        if newest.last_class is AnswerClass.REPLACEMENT:
            return await self._pool_has_ours(view, slot)
        return self._waits_too_long(view, slot, newest)

    def _waits_too_long(self, view: View, slot: Slot, newest: Attempt) -> bool:
        """Whether its patience is over, which is longer with every attempt."""
        if newest.first_broadcast_at is None or newest.first_broadcast_block is None:
            return False
        pace = self._fees.pace
        factor = pace.factor ** (len(slot.own) - 1)
        if self._clock() - newest.first_broadcast_at >= min(pace.stuck_after * factor, pace.longest):
            return True
        blocks = view.account.latest.number - newest.first_broadcast_block
        return pace.stuck_after_blocks is not None and blocks >= pace.stuck_after_blocks * factor

    async def _pool_has_ours(self, view: View, slot: Slot) -> bool:
        """Whether what a replacement is compared with was signed here; if not, somebody else has the key."""
        if await view.node.known([one.hash for one in slot.attempts]):
            return True
        if self._is_news(slot, "foreign"):
            self._metrics.foreign()
            _log.critical("foreign_transaction_in_pool", nonce=slot.nonce)
        return False

    def _is_news(self, slot: Slot, what: str) -> bool:
        """Whether this was not found of a slot yet, as it stands: passes are many, and alarms should be few."""
        found = (what, len(slot.attempts), slot.newest.refusals if slot.newest else 0)
        if self._said.get(slot.id) == found:
            return False
        self._said[slot.id] = found
        return True

    async def _replace(self, view: View, slot: Slot, market: Market) -> bool:
        try:
            gas = await self._gas(view, slot)
        except RefusedError as refused:
            # It would revert: paying more for that helps nobody, and what is out stays out as long as it is wanted.
            if await self._posting.gives_way(view, slot, refused.refusal):
                _log.warning("nonce_gives_way", nonce=slot.nonce, why=str(refused))
                return True
            if self._is_news(slot, "refused"):
                _log.warning("not_bumped", nonce=slot.nonce, why=str(refused))
            return False
        old = slot.dearest.fee
        ceiling = self._fees.ceiling(market, gas=gas, balance=view.account.balance, node_cap=slot.node_cap)
        self._metrics.priced(old.max_fee, ceiling.amount)
        if slot.dearest.last_class is AnswerClass.NODE_LIMIT:
            # Nothing of the nonce is in a pool, so that nothing has to be outbid.
            fee: Fee | Keep = market.bid(ceiling.amount)
        else:
            must = slot.newest is None or slot.newest.last_class in _REFUSED
            fee = market.bump(old, ceiling.amount, refused=must)
        if isinstance(fee, Keep):
            if self._is_news(slot, fee):
                self._metrics.kept(fee)
                _log.warning(
                    "fee_kept",
                    nonce=slot.nonce,
                    why=fee.value,
                    max_fee=old.max_fee,
                    ceiling=ceiling.amount,
                    limit=ceiling.limit.value,
                )
            return False
        self._metrics.bumped()
        await self._posting.sign_and_send(view, slot, gas=gas, fee=fee)
        return True

    async def _gas(self, view: View, slot: Slot) -> int:
        gas = NOTHING_GAS
        if slot.purpose is Purpose.CONFIRM_BATCH:
            gas = await self._simulation.gas(view.rpc, slot.target, slot.calldata)
        if (newest := slot.newest) is None:
            return gas
        if newest.last_class is AnswerClass.GAS_TOO_LOW:
            gas = max(gas, newest.gas_limit * 3 // 2)
        return min(max(gas, newest.gas_limit), MAX_GAS)


def _standing(slot: Slot, view: View) -> tuple[bytes, Purpose, int, int]:
    """What a decision about a slot depends on: the block, what it is for, what was signed, how often nodes refused it."""
    refusals = slot.newest.refusals if slot.newest else 0
    return view.account.latest.hash, slot.purpose, len(slot.attempts), refusals
