"""Where what was ever signed ended up: inclusion, reorganisation, and the verdicts of final blocks."""

from collections.abc import Awaitable, Callable

import structlog

from relayer.chain import slot_repository as repository
from relayer.chain.calls import CallSource, Cause, Inclusion, Refusal
from relayer.chain.gas import MAX_GAS
from relayer.chain.ledger import Ledger, View
from relayer.chain.node import Block, Node, TransactionReceipt
from relayer.chain.providers import Providers
from relayer.chain.rpc import RpcError, RpcUnavailableError
from relayer.chain.sender_metrics import SenderMetrics
from relayer.chain.simulation import Simulation
from relayer.chain.slots import Attempt, Purpose, Slot, SlotState

# A call that ran out of gas is sent with half as much again so many times.
_GAS_RETRIES = 2

_Contradiction = Callable[[Node], Awaitable[str | None]]

_log = structlog.get_logger(__name__)


class Settling:
    """Asks for the receipt of every hash of every open slot, and settles what is final."""

    def __init__(
        self,
        ledger: Ledger,
        providers: Providers,
        *,
        source: CallSource,
        simulation: Simulation,
        metrics: SenderMetrics,
    ) -> None:
        self._ledger = ledger
        self._providers = providers
        self._source = source
        self._simulation = simulation
        self._metrics = metrics

    async def poll(self, view: View) -> int:
        """Bring every open slot to where the chain has it.

        The view was taken before: a nonce that one of ours used in a final block has a receipt by now.

        Returns:
            How many slots changed.

        """
        slots = await self._ledger.load()
        receipts = await view.node.receipts([one.hash for slot in slots for one in slot.attempts])
        blocks = await view.node.blocks(sorted({receipt.block_number for receipt in receipts.values()}))
        changed = 0
        for slot in slots:
            mined = _mined(slot, receipts, blocks)
            if mined is None:
                changed += await self._missing(view, slot)
            elif mined[0].purpose is Purpose.CANCEL:
                changed += await self._took_the_nonce(view, slot, mined[1])
            elif mined[1].succeeded:
                changed += await self._succeeded(view, slot, mined[1])
            else:
                changed += await self._failed(view, slot, *mined)
        return changed

    async def _missing(self, view: View, slot: Slot) -> bool:
        if slot.state is SlotState.INCLUDED:
            return await self._drop(view, slot)
        if slot.nonce >= view.account.finalized_nonce:
            return False
        asked = await self._all_say_so(view, slot, lambda node: self._contradiction(node, slot))
        if asked is None:
            return False
        text = (
            f"nonce {slot.nonce} was used in a final block by a transaction that this platform did not sign; "
            f"{asked} node{'s know' if asked > 1 else ' knows'} none of its {len(slot.attempts)} own"
        )
        self._metrics.foreign()
        _log.critical("foreign_transaction", nonce=slot.nonce, nodes=asked, detail=text)
        return await self._settle(view, slot, SlotState.SUPERSEDED, Refusal(Cause.SUPERSEDED, text))

    async def _all_say_so(self, view: View, slot: Slot, contradiction: _Contradiction) -> int | None:
        """Ask the other nodes before something of a slot is settled that cannot be taken back.

        Returns:
            How many nodes say so; None where one contradicts or does not say.

        """
        others = [rpc for rpc in self._providers.witnesses() if rpc is not view.rpc]
        for rpc in others:
            try:
                reason = await contradiction(Node(rpc))
            except (RpcUnavailableError, RpcError) as error:
                reason = str(error)
            if reason is not None:
                _log.warning("no_verdict", nonce=slot.nonce, reason=reason)
                return None
        return 1 + len(others)

    async def _mined_alike(self, view: View, slot: Slot, receipt: TransactionReceipt) -> bool:
        """Whether every node has a transaction with the same outcome in the same final block."""

        async def contradiction(node: Node) -> str | None:
            _, finalized = await node.heads()
            theirs = (await node.receipts([receipt.transaction_hash])).get(receipt.transaction_hash)
            block = await node.block(receipt.block_number)
            if theirs != receipt or block is None or block.hash != receipt.block_hash:
                return (
                    f"{node.rpc.address} does not have it in block {receipt.block_number} with this outcome"
                )
            if finalized.number < receipt.block_number:
                return f"by {node.rpc.address} block {receipt.block_number} is not final"
            return None

        return await self._all_say_so(view, slot, contradiction) is not None

    async def _contradiction(self, node: Node, slot: Slot) -> str | None:
        """What speaks against a nonce being used for good, and by nothing of ours."""
        account = await node.account(self._ledger.account.address)
        if slot.nonce >= account.finalized_nonce:
            return f"by {node.rpc.address} the nonce is not used in a final block"
        if await node.receipts([one.hash for one in slot.attempts]):
            return f"{node.rpc.address} has a receipt"
        return None

    async def _succeeded(self, view: View, slot: Slot, receipt: TransactionReceipt) -> bool:
        known = (slot.included_hash, slot.block_hash) == (receipt.transaction_hash, receipt.block_hash)
        final = receipt.block_number <= view.account.finalized.number
        if known and not final:
            return False
        inclusion = _inclusion(receipt)
        async with self._ledger.write(view.epoch) as entry:
            if not known:
                if slot.state is SlotState.INCLUDED and slot.batch_id is not None:
                    await self._source.dropped(entry.conn, slot.batch_id)
                await repository.include(entry.conn, slot.id, inclusion, entry.stamp)
                if slot.batch_id is not None:
                    await self._source.included(entry.conn, slot.batch_id, inclusion)
            if final:
                finalized = view.account.finalized
                # By one node's word: it moves no job, which the event of the batch does.
                await repository.settle(entry.conn, slot.id, SlotState.FINAL, finalized, entry.stamp)
        return True

    async def _failed(self, view: View, slot: Slot, attempt: Attempt, receipt: TransactionReceipt) -> bool:
        dropped = slot.state is SlotState.INCLUDED and await self._drop(view, slot)
        is_final = receipt.block_number <= view.account.finalized.number
        if not is_final or not await self._mined_alike(view, slot, receipt):
            return dropped
        where = f"transaction 0x{receipt.transaction_hash.hex()} reverted in block {receipt.block_number}"
        refusal = await self._simulation.reason(view.rpc, slot, where, receipt.block_number)
        out_of_gas = refusal.error is None and _used_up(receipt, attempt)
        if slot.purpose is Purpose.CANCEL:
            refusal = Refusal(Cause.CANCELLED, refusal.text, refusal.error)
        elif out_of_gas:
            refusal = await self._out_of_gas(slot, attempt, where, view)
        return await self._settle(
            view, slot, SlotState.REVERTED, refusal, _inclusion(receipt), out_of_gas=out_of_gas
        )

    async def _out_of_gas(self, slot: Slot, attempt: Attempt, where: str, view: View) -> Refusal:
        assert slot.batch_id is not None
        async with self._ledger.write(view.epoch) as entry:
            before = await repository.exhausted_limits(entry.conn, slot.batch_id)
        text = f"{where}: its {attempt.gas_limit} gas did not suffice"
        if len(before) >= _GAS_RETRIES or attempt.gas_limit >= MAX_GAS:
            return Refusal(Cause.TOO_MUCH_GAS, f"{text}, after {len(before)} tries with less")
        return Refusal(Cause.OUT_OF_GAS, text)

    async def _took_the_nonce(self, view: View, slot: Slot, receipt: TransactionReceipt) -> bool:
        """The transaction of nothing that cancels a batch's was mined, whether or not it succeeded."""
        dropped = slot.state is SlotState.INCLUDED and await self._drop(view, slot)
        is_final = receipt.block_number <= view.account.finalized.number
        if not is_final or not await self._mined_alike(view, slot, receipt):
            return dropped
        text = f"nonce {slot.nonce} was used up by 0x{receipt.transaction_hash.hex()}, which does nothing"
        return await self._settle(
            view, slot, SlotState.CANCELLED, Refusal(Cause.CANCELLED, text), _inclusion(receipt)
        )

    async def _settle(
        self,
        view: View,
        slot: Slot,
        target: SlotState,
        refusal: Refusal,
        mined: Inclusion | None = None,
        *,
        out_of_gas: bool = False,
    ) -> bool:
        if slot.batch_id is not None:
            refusal = await self._source.weigh(slot.batch_id, refusal)
        async with self._ledger.write(view.epoch) as entry:
            moved = await repository.settle(
                entry.conn,
                slot.id,
                target,
                view.account.finalized,
                entry.stamp,
                mined=mined,
                out_of_gas=out_of_gas,
            )
            if moved and slot.batch_id is not None:
                await self._source.refused(entry.conn, slot.batch_id, refusal)
        return moved

    async def _drop(self, view: View, slot: Slot) -> bool:
        async with self._ledger.write(view.epoch) as entry:
            dropped = await repository.drop(entry.conn, slot.id, entry.stamp)
            if dropped and slot.batch_id is not None:
                await self._source.dropped(entry.conn, slot.batch_id)
        return dropped


def _mined(
    slot: Slot, receipts: dict[bytes, TransactionReceipt], blocks: dict[int, Block]
) -> tuple[Attempt, TransactionReceipt] | None:
    """The one of a slot's transactions that is in a canonical block."""
    for attempt in slot.attempts:
        receipt = receipts.get(attempt.hash)
        block = blocks.get(receipt.block_number) if receipt else None
        if receipt and block and block.hash == receipt.block_hash:
            return attempt, receipt
    return None


def _inclusion(receipt: TransactionReceipt) -> Inclusion:
    return Inclusion(receipt.transaction_hash, receipt.block_number, receipt.block_hash, receipt.gas_used)


def _used_up(receipt: TransactionReceipt, attempt: Attempt) -> bool:
    """Whether a transaction ran out of gas.

    Behind a proxy the call gets all but a 64th of the gas (EIP-150), and what is left of that is not used.
    """
    return 64 * receipt.gas_used >= 63 * attempt.gas_limit
