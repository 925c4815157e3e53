"""Taking nonces for new calls, and for the gaps below them."""

from dataclasses import dataclass

import structlog

from relayer.chain import slot_repository as repository
from relayer.chain.answers import AnswerClass
from relayer.chain.calls import Call, CallSource, Cause, Refusal
from relayer.chain.fee import Fee
from relayer.chain.fees import Fees
from relayer.chain.gas import MAX_GAS
from relayer.chain.ledger import Ledger, View
from relayer.chain.node import Node
from relayer.chain.posting import Posting
from relayer.chain.providers import Providers
from relayer.chain.rpc import RpcError, RpcUnavailableError
from relayer.chain.sender_metrics import SenderMetrics
from relayer.chain.simulation import RefusedError, Simulation
from relayer.chain.slot_repository import NewSlot
from relayer.chain.slots import NOTHING_GAS, Purpose, Slot, SlotState
from relayer.chain.transaction import TransactionFields

# Nodes promise an account 16 places in their pools.
_MOST_UNMINED_CALLS = 4
_MOST_UNMINED = 16
# As many as there are lanes: where none of them is open but the last, its call has its turn in the same pass.
_MOST_REFUSED = 32
# In transactions at the highest price that would be paid now.
_BALANCE_TO_BEGIN = 3
_BALANCE_TO_WARN = 20

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Price:
    gas: int
    fee: Fee


class Opening:
    """Takes nonces, as few as are needed and no more than nodes hold for one account."""

    def __init__(
        self,
        ledger: Ledger,
        posting: Posting,
        providers: Providers,
        *,
        source: CallSource,
        fees: Fees,
        simulation: Simulation,
        metrics: SenderMetrics,
    ) -> None:
        self._ledger = ledger
        self._posting = posting
        self._providers = providers
        self._source = source
        self._fees = fees
        self._simulation = simulation
        self._metrics = metrics

    # --- gaps -----------------------------------------------------------------------------------------------

    async def fill_gaps(self, view: View) -> int:
        """Use up, by nothing, nonces below ours that were never taken: whatever is above them would wait for ever.

        Returns:
            How many were taken.

        """
        unmined = [slot.nonce for slot in await self._ledger.load() if slot.is_unmined]
        room = _MOST_UNMINED - len(unmined)
        if not unmined or room <= 0:
            return 0
        missing = await self._missing(view.account.nonce, max(unmined), room, view)
        if missing:
            # A node that lags shows gaps that are none.
            nonces = await self._nonces(view)
            missing = [] if nonces is None else [nonce for nonce in missing if nonce >= max(nonces)]
        for nonce in missing:
            _log.warning("gap_filled", nonce=nonce)
            market = await self._fees.market(view.rpc)
            ceiling = self._fees.ceiling(market, gas=NOTHING_GAS, balance=view.account.balance)
            new = NewSlot(Purpose.FILL, None, self._ledger.account.address, b"")
            async with self._ledger.write(view.epoch) as entry:
                slot = await repository.reserve(entry.conn, self._ledger.account, nonce, new, entry.stamp)
            await self._posting.sign_and_send(view, slot, gas=NOTHING_GAS, fee=market.bid(ceiling.amount))
        return len(missing)

    async def _missing(self, first: int, last: int, room: int, view: View) -> list[int]:
        async with self._ledger.write(view.epoch) as entry:
            return await repository.missing_nonces(entry.conn, self._ledger.account, first, last, room)

    async def _nonces(self, view: View) -> list[int] | None:
        """The next nonce of the account by each node, that of the view first; None where one does not say."""
        nonces = [view.account.nonce]
        for rpc in self._providers.witnesses():
            if rpc is view.rpc:
                continue
            try:
                nonces.append(await Node(rpc).nonce(self._ledger.account.address))
            except (RpcUnavailableError, RpcError) as error:
                _log.warning("no_verdict", reason=str(error))
                return None
        return nonces

    # --- new calls ------------------------------------------------------------------------------------------

    async def open(self, view: View) -> int:
        """Take nonces for calls of the source, as long as few enough wait to be mined.

        Returns:
            How many calls were sent or refused.

        """
        unmined = [slot for slot in await self._ledger.load() if slot.is_unmined]
        if any(_blocks_what_follows(slot) for slot in unmined) or not await self._is_at_our_nonce(view):
            return 0
        room, refused, done = _MOST_UNMINED_CALLS - len(unmined), 0, 0
        while room > 0 and refused < _MOST_REFUSED:
            async with self._ledger.write(view.epoch) as entry:
                call = await self._source.next(entry.conn)
            if call is None:
                break
            price = await self._price(view, call)
            if isinstance(price, Refusal):
                price = await self._source.weigh(call.batch_id, price)
                async with self._ledger.write(view.epoch) as entry:
                    await self._source.refused(entry.conn, call.batch_id, price)
                refused += 1
                if price.cause in (Cause.FUNDS, Cause.FEE_CAP):
                    break
                continue
            room -= 1
            if (slot := await self._reserve(view, call)) is None:
                continue
            done += 1
            answer = await self._posting.sign_and_send(view, slot, gas=price.gas, fee=price.fee)
            if not answer.in_pool:
                break
        return done + refused

    async def _is_at_our_nonce(self, view: View) -> bool:
        """Whether the chain is no further than what was taken here; if it is, all nodes have to say so.

        Above a nonce that one node made up everything would wait for ever.
        """
        ours = await self._ledger.next_nonce()
        if view.account.nonce <= ours:
            return True
        nonces = await self._nonces(view)
        if nonces is None or min(nonces) < view.account.nonce:
            _log.warning(
                "no_verdict", nonce=view.account.nonce, reason=f"nodes differ: {nonces}, {ours} is ours"
            )
            return False
        return True

    async def _reserve(self, view: View, call: Call) -> Slot | None:
        """Take the next nonce, unless the batch was stopped meanwhile."""
        async with self._ledger.write(view.epoch) as entry:
            if not await self._source.sending(entry.conn, call.batch_id):
                return None
            account = self._ledger.account
            nonce = await repository.next_nonce(entry.conn, account, view.account.nonce)
            new = NewSlot(Purpose.CONFIRM_BATCH, call.batch_id, call.target, call.calldata)
            return await repository.reserve(entry.conn, account, nonce, new, entry.stamp)

    async def _price(self, view: View, call: Call) -> _Price | Refusal:
        """Try a call; give what it takes and pays, or why it is not sent now."""
        try:
            gas = await self._simulation.gas(view.rpc, call.target, call.calldata)
        except RefusedError as refused:
            return refused.refusal
        async with self._ledger.write(view.epoch) as entry:
            exhausted = await repository.exhausted_limits(entry.conn, call.batch_id)
        if exhausted:
            gas = min(max(gas, exhausted[-1] * 3 // 2), MAX_GAS)
        market = await self._fees.market(view.rpc)
        balance = view.account.balance
        beside = await self._beside_gas(view, call, gas, market.bid(self._fees.most(market)))
        left = balance // (gas * self._fees.most(market) + beside)
        self._metrics.balance(left)
        if left < _BALANCE_TO_BEGIN:
            also = f", and {beside} wei beside it" if beside else ""
            return Refusal(
                Cause.FUNDS,
                f"0x{self._ledger.account.address.hex()} has {balance} wei, enough for {left} transactions of {gas} "
                f"gas at the most that would be paid{also}; send it more",
            )
        if left < _BALANCE_TO_WARN:
            _log.warning("funds_low", transactions=left, balance=balance)
        ceiling = self._fees.ceiling(market, gas=gas, balance=balance - beside)
        if ceiling.amount < market.ask:
            return Refusal(
                Cause.FEE_CAP,
                f"the market asks for {market.ask} wei a gas, {ceiling.amount} may be paid; wait, or raise "
                "JOBSEAL_CHAIN_MAX_FEE_CAP_GWEI",
            )
        return _Price(gas, market.bid(ceiling.amount))

    async def _beside_gas(self, view: View, call: Call, gas: int, fee: Fee) -> int:
        account = self._ledger.account
        return await self._fees.beside_gas(
            view.rpc,
            TransactionFields(account.chain_id, view.account.nonce, call.target, call.calldata, gas, fee),
        )


def _blocks_what_follows(slot: Slot) -> bool:
    """Whether a nonce waits for something that a higher one could only queue behind."""
    if slot.state is SlotState.RESERVED or slot.asks_for_a_human or slot.newest is None:
        return True
    return slot.newest.last_class in (
        AnswerClass.POOL_BUSY,
        AnswerClass.POOL_FULL,
        AnswerClass.NO_FUNDS,
        AnswerClass.UNKNOWN,
    )
