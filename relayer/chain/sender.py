"""Sending calls so that each lands once, whatever dies in between.

Row before effect: the nonce's row is committed before anything is signed for it, the signed bytes before they are
sent. A pass always begins with what earlier passes left, sends stored bytes again, asks for every hash ever signed, and
only then takes a new nonce. That something was broadcast is a hint and never evidence.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import structlog
from eth_hash.backends.pysha3 import keccak256

from relayer.chain import slot_repository as repository
from relayer.chain.answers import AnswerClass, classify
from relayer.chain.calls import Call, CallSource, Inclusion
from relayer.chain.fee import Fee, Keep
from relayer.chain.fees import Fees, Limit
from relayer.chain.gas import MAX_GAS, gas_limit
from relayer.chain.node import AccountView, Block, Node, TransactionReceipt
from relayer.chain.registry import RevertError, decode_error
from relayer.chain.rpc import JsonRpc, RpcError, RpcUnavailableError
from relayer.chain.signer import Signer, SignerUnavailableError
from relayer.chain.slot_repository import Attempt, Connection, Slot
from relayer.chain.transaction import TransactionFields
from relayer.model.clock import Clock
from relayer.store import leases
from relayer.store.database import Database

LEASE = "sender"
"""The lease under which one sender leads."""

_MAX_OPEN_SLOTS = 4
_REBROADCAST_AFTER = timedelta(seconds=30)
_BUMP_AFTER = timedelta(seconds=45)
_BUMP_AFTER_BLOCKS = 3
_MAX_BUMP_AFTER = timedelta(minutes=10)
_MAX_ATTEMPTS = 10
_PATIENCE_FACTOR = 1.5
# What geth and anvil give for a call that reverts, with or without data.
_REVERT_CODE = 3

_log = structlog.get_logger()


class _RevertedError(Exception):
    """The call would revert, or has reverted."""

    def __init__(self, error: RevertError | None, text: str) -> None:
        super().__init__(text)
        self.error = error
        self.text = text


class Sender:
    """Sends the calls of a source from one account.

    Args:
        db: in the relayer's role.
        rpc: the node that is asked and sent to.
        signer: holds the account's key.
        chain_id: the chain for which is signed (EIP-155).
        source: gives the calls, and is told what became of them.
        fees: what may be paid.
        clock: gives the time of sending, by which stuck transactions are bumped.

    """

    def __init__(
        self,
        db: Database,
        rpc: JsonRpc,
        *,
        signer: Signer,
        chain_id: int,
        source: CallSource,
        fees: Fees,
        clock: Clock,
    ) -> None:
        self._db = db
        self._node = Node(rpc)
        self._rpc = rpc
        self._signer = signer
        self._chain_id = chain_id
        self._source = source
        self._fees = fees
        self._clock = clock

    async def run_pass(self, epoch: int) -> int:
        """Do once everything that can be done now, under the lease's epoch.

        Returns:
            How many slots were reserved, sent, settled or refused; 0 if there was nothing to do.

        Raises:
            UnavailableError: node or database are away; a transaction's outcome may be unknown, its bytes are kept.
            RpcError: the node refuses a read.
            SignerError: the signer gave back something else than it was asked for.
            LeaseLostError: another process leads; nothing was written.

        """
        async with self._db.transaction() as conn:
            # An old leader stops here, before it asks or sends anything.
            await leases.require(conn, LEASE, epoch)
        account = await self._node.account(self._signer.address)
        done, silent = 0, None
        try:
            done += await self._send_stored(epoch, account)
        except SignerUnavailableError as error:
            silent = error
        done += await self._poll(epoch, account)
        if silent is not None:
            # What is on its way is followed without the signer; nothing else can be done without it.
            raise silent
        done += await self._bump(epoch, account)
        return done + await self._send_new(epoch, account)

    # --- 1: what is stored goes out again -------------------------------------------------------------------

    async def _send_stored(self, epoch: int, account: AccountView) -> int:
        """Sign what was only reserved, and send what is new or was sent long ago, lowest nonce first."""
        slots, attempts = await self._load()
        sent = 0
        for slot in slots:
            if slot.state == "reserved":
                await self._sign_and_send(epoch, account, slot, await self._gas_for(slot))
                sent += 1
            elif slot.state != "included" and self._due(newest := attempts[slot.id][-1]):
                await self._send(epoch, account, newest)
                sent += 1
        return sent

    def _due(self, attempt: Attempt) -> bool:
        last = attempt.last_broadcast_at
        if last is None or attempt.last_class == AnswerClass.UNAVAILABLE:
            return True
        return self._clock() - last >= _REBROADCAST_AFTER

    async def _gas_for(self, slot: Slot) -> int:
        """The gas of a nonce that is taken and must be used, even where its call would revert by now."""
        try:
            return await self._estimate(Call(slot.batch_id, slot.target, slot.calldata))
        except _RevertedError:
            return MAX_GAS

    # --- 2: where is what was ever signed -------------------------------------------------------------------

    async def _poll(self, epoch: int, account: AccountView) -> int:
        """Ask for the receipt of every hash of every open slot, and settle what is final.

        `account` was read before: a nonce that was used in a final block by one of ours has a receipt by now.
        """
        slots, attempts = await self._load()
        receipts = await self._node.receipts([one.hash for slot in slots for one in attempts[slot.id]])
        heights = {receipt.block_number for receipt in receipts.values()}
        blocks = await self._node.blocks(sorted(heights))
        changed = 0
        for slot in slots:
            mined = (receipts.get(one.hash) for one in attempts[slot.id])
            receipt = next((one for one in mined if one and _is_canonical(one, blocks)), None)
            if receipt is None:
                changed += await self._missing(epoch, account, slot)
            elif receipt.succeeded:
                changed += await self._succeeded(epoch, account, slot, receipt)
            else:
                changed += await self._failed(epoch, account, slot, receipt)
        return changed

    async def _missing(self, epoch: int, account: AccountView, slot: Slot) -> bool:
        if slot.state == "included":
            return await self._drop(epoch, slot)
        if slot.nonce >= account.finalized_nonce:
            return False
        text = (
            f"nonce {slot.nonce} was used in a final block by a transaction that this platform did not sign"
        )
        async with self._write(epoch) as conn:
            if moved := await self._move(conn, epoch, slot, "superseded"):
                await self._source.refused(conn, slot.batch_id, None, text)
        return moved

    async def _succeeded(
        self, epoch: int, account: AccountView, slot: Slot, receipt: TransactionReceipt
    ) -> bool:
        known = (slot.included_hash, slot.block_hash) == (receipt.transaction_hash, receipt.block_hash)
        inclusion = Inclusion(
            receipt.transaction_hash, receipt.block_number, receipt.block_hash, receipt.gas_used
        )
        final = receipt.block_number <= account.finalized.number
        if known and not final:
            return False
        async with self._write(epoch) as conn:
            if not known:
                if slot.state == "included":
                    await self._source.dropped(conn, slot.batch_id)
                await repository.include(conn, slot.id, inclusion, epoch=epoch, at=self._clock())
                await self._source.included(conn, slot.batch_id, inclusion)
            if final:
                await repository.move(conn, slot.id, "final", ["included"], epoch=epoch, at=self._clock())
        return True

    async def _failed(
        self, epoch: int, account: AccountView, slot: Slot, receipt: TransactionReceipt
    ) -> bool:
        dropped = slot.state == "included" and await self._drop(epoch, slot)
        if receipt.block_number > account.finalized.number:
            return dropped
        reason = await self._reason(slot, receipt)
        async with self._write(epoch) as conn:
            if moved := await self._move(conn, epoch, slot, "reverted"):
                await self._source.refused(conn, slot.batch_id, reason.error, reason.text)
        return moved

    async def _drop(self, epoch: int, slot: Slot) -> bool:
        async with self._write(epoch) as conn:
            if dropped := await repository.drop(conn, slot.id, epoch=epoch, at=self._clock()):
                await self._source.dropped(conn, slot.batch_id)
        return dropped

    async def _reason(self, slot: Slot, receipt: TransactionReceipt) -> _RevertedError:
        """Why a mined transaction reverted, by calling it again on the state of its block."""
        where = f"transaction 0x{receipt.transaction_hash.hex()} reverted in block {receipt.block_number}"
        try:
            call = Call(slot.batch_id, slot.target, slot.calldata)
            await self._simulate("eth_call", call, hex(receipt.block_number))
        except _RevertedError as reason:
            return _RevertedError(reason.error, f"{where}: {reason.text}")
        except RpcError as error:
            return _RevertedError(None, f"{where}; its replay failed: {error.message}")
        return _RevertedError(None, f"{where}; its replay does not show why")

    # --- 3: what is stuck pays more -------------------------------------------------------------------------

    async def _bump(self, epoch: int, account: AccountView) -> int:
        """Replace stuck transactions, on the same nonces, by ones that pay more; at the cap they stay as they are."""
        slots, attempts = await self._load()
        stuck = [
            slot for slot in slots if slot.state != "included" and self._stuck(attempts[slot.id], account)
        ]
        if not stuck:
            return 0
        market = await self._fees.market(self._rpc)
        bumped = 0
        for slot in stuck:
            newest = attempts[slot.id][-1]
            gas = max(await self._gas_for(slot), newest.gas_limit)
            ceiling = self._fees.ceiling(market, gas=gas, balance=account.balance)
            refused = newest.last_class == AnswerClass.UNDERPRICED
            fee = market.bump(newest.fee, ceiling.amount, refused=refused)
            if isinstance(fee, Keep):
                _log.warning(
                    "fee_kept",
                    nonce=slot.nonce,
                    why=fee,
                    max_fee=newest.fee.max_fee,
                    ceiling=ceiling.amount,
                    limit=ceiling.limit,
                )
                continue
            await self._sign_and_send(epoch, account, slot, gas, fee)
            bumped += 1
        return bumped

    def _stuck(self, attempts: list[Attempt], account: AccountView) -> bool:
        """Whether the newest attempt waits too long; patience grows with every bump."""
        if not attempts or len(attempts) >= _MAX_ATTEMPTS:
            return False
        newest = attempts[-1]
        if newest.last_class == AnswerClass.UNDERPRICED:
            return True
        if newest.first_broadcast_at is None or newest.first_broadcast_block is None:
            return False
        factor = _PATIENCE_FACTOR ** (len(attempts) - 1)
        waited = self._clock() - newest.first_broadcast_at
        blocks = account.latest.number - newest.first_broadcast_block
        return waited > min(_BUMP_AFTER * factor, _MAX_BUMP_AFTER) or blocks > _BUMP_AFTER_BLOCKS * factor

    # --- 4: new calls ---------------------------------------------------------------------------------------

    async def _send_new(self, epoch: int, account: AccountView) -> int:
        """Take nonces for calls of the source, as long as few enough slots are open."""
        slots, _ = await self._load()
        done = 0
        for _ in range(_MAX_OPEN_SLOTS - len(slots)):
            async with self._db.transaction() as conn:
                if (call := await self._source.next(conn)) is None:
                    break
                try:
                    gas = await self._preflight(call)
                except _RevertedError as reason:
                    await leases.require(conn, LEASE, epoch)
                    await self._source.refused(conn, call.batch_id, reason.error, reason.text)
                    done += 1
                    continue
                market = await self._fees.market(self._rpc)
                ceiling = self._fees.ceiling(market, gas=gas, balance=account.balance)
                if ceiling.amount < market.ask:
                    lacking = "funds" if ceiling.limit is Limit.BALANCE else "fee_cap"
                    _log.warning("sending_held", reason=lacking, ceiling=ceiling.amount, ask=market.ask)
                    break
                await leases.require(conn, LEASE, epoch)
                slot = await repository.reserve(
                    conn,
                    call,
                    chain_id=self._chain_id,
                    sender=self._signer.address,
                    latest_nonce=account.nonce,
                    epoch=epoch,
                    at=self._clock(),
                )
                await self._source.sending(conn, call.batch_id)
            await self._sign_and_send(epoch, account, slot, gas, market.bid(ceiling.amount))
            done += 1
        return done

    async def _preflight(self, call: Call) -> int:
        """Try the call as the sender; the gas limit that it needs."""
        await self._simulate("eth_call", call, "latest")
        return await self._estimate(call)

    async def _estimate(self, call: Call) -> int:
        estimate = await self._simulate("eth_estimateGas", call, "latest")
        return gas_limit(int(estimate, 16), call.calldata)

    async def _simulate(self, method: str, call: Call, block: str) -> str:
        transaction = {
            "from": f"0x{self._signer.address.hex()}",
            "to": f"0x{call.target.hex()}",
            "data": f"0x{call.calldata.hex()}",
        }
        try:
            return str(await self._rpc.call(method, (transaction, block)))
        except RpcError as error:
            if error.data:
                reason = decode_error(error.data)
                raise _RevertedError(reason, str(reason)) from None
            if error.code == _REVERT_CODE or "revert" in error.message.lower():
                raise _RevertedError(None, error.message) from None
            raise

    # --- what all of them share -----------------------------------------------------------------------------

    async def _sign_and_send(
        self, epoch: int, account: AccountView, slot: Slot, gas: int, fee: Fee | None = None
    ) -> None:
        """Sign for a nonce, keep the bytes, and only then send them. A taken nonce is used, whatever the fee cap says."""
        if fee is None:
            market = await self._fees.market(self._rpc)
            fee = market.bid(self._fees.ceiling(market, gas=gas, balance=account.balance).amount)
        fields = TransactionFields(self._chain_id, slot.nonce, slot.target, slot.calldata, gas, fee)
        raw = await self._signer.sign(fields)
        attempt = Attempt(keccak256(raw), slot.id, raw, gas, fee, None, None, None, None)
        async with self._write(epoch) as conn:
            if not await repository.move(
                conn, slot.id, "signed", ["reserved", "signed", "broadcast"], epoch=epoch, at=self._clock()
            ):
                return
            await repository.add_attempt(conn, attempt, self._clock())
        await self._send(epoch, account, attempt)

    async def _send(self, epoch: int, account: AccountView, attempt: Attempt) -> None:
        try:
            await self._rpc.call("eth_sendRawTransaction", (f"0x{attempt.raw.hex()}",))
        except RpcUnavailableError as error:
            await self._answered(epoch, account, attempt, AnswerClass.UNAVAILABLE, str(error))
            raise
        except RpcError as error:
            kind = classify(error.message)
            await self._answered(epoch, account, attempt, kind, error.message)
        else:
            await self._answered(epoch, account, attempt, AnswerClass.ACCEPTED)

    async def _answered(
        self,
        epoch: int,
        account: AccountView,
        attempt: Attempt,
        kind: AnswerClass,
        answer: str | None = None,
    ) -> None:
        if not kind.in_pool:
            _log.warning(
                "transaction_not_taken",
                hash=f"0x{attempt.hash.hex()}",
                answer_class=kind.value,
                answer=answer,
            )
        async with self._write(epoch) as conn:
            await repository.answered(
                conn, attempt.hash, kind, answer, block=account.latest.number, at=self._clock()
            )
            if kind.in_pool:
                await repository.move(
                    conn, attempt.slot_id, "broadcast", ["signed"], epoch=epoch, at=self._clock()
                )

    async def _move(self, conn: Connection, epoch: int, slot: Slot, target: str) -> bool:
        sources = ["signed", "broadcast"]
        return await repository.move(conn, slot.id, target, sources, epoch=epoch, at=self._clock())

    async def _load(self) -> tuple[list[Slot], dict[UUID, list[Attempt]]]:
        async with self._db.transaction() as conn:
            slots = await repository.open_slots(conn, self._chain_id, self._signer.address)
            return slots, await repository.attempts(conn, [slot.id for slot in slots])

    @asynccontextmanager
    async def _write(self, epoch: int) -> AsyncIterator[Connection]:
        """A transaction that commits only while the epoch leads."""
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            yield conn


def _is_canonical(receipt: TransactionReceipt, blocks: dict[int, Block]) -> bool:
    block = blocks.get(receipt.block_number)
    return block is not None and block.hash == receipt.block_hash
