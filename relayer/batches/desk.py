"""What operators do about batches that wait. Whoever calls writes the audit entry in the same transaction.

Every action locks the batch, looks at where it stands now, and refuses what does not fit.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import desk_repository as repository
from relayer.batches import registry_state
from relayer.batches.desk_repository import AttemptRow, SlotRow, WaitingBatch
from relayer.batches.reasons import HoldReason, HumanReason
from relayer.batches.registry_state import RegistryState
from relayer.chain.node import Block, Node
from relayer.chain.registry import RegistryClient
from relayer.chain.rpc import JsonRpc
from relayer.model.errors import JobsealError
from relayer.store import registries
from relayer.store.registries import RegistryRow

_DEAD = ("reverted", "superseded", "cancelled")


class DeskError(JobsealError):
    """What was asked for does not fit where the batch stands; the text says what would."""


@dataclass(frozen=True)
class Explanation:
    """Everything that is on record of a batch: its slots in the order of nonces, and what was signed for each."""

    batch: WaitingBatch
    slots: tuple[SlotRow, ...]
    attempts: tuple[AttemptRow, ...]


@dataclass(frozen=True)
class Sight:
    """What the chain says about a release: a finalized block, and whether the registry knows the root there or later."""

    finalized: Block
    is_known: bool


async def list_waiting(conn: AsyncConnection[TupleRow]) -> list[WaitingBatch]:
    """Give what is held or needs a human, the oldest first."""
    return await repository.waiting(conn)


async def list_held_registries(conn: AsyncConnection[TupleRow]) -> list[tuple[RegistryRow, RegistryState]]:
    """Give the registries whose state keeps batches back, also where no batch waits: a frozen one seals none."""
    states = [(one, await registry_state.read(conn, one.id)) for one in await registries.every(conn)]
    return [(one, state) for one, state in states if state.hold is not None]


async def explain(conn: AsyncConnection[TupleRow], batch_id: UUID) -> Explanation:
    """Give everything that is on record of a batch.

    Raises:
        DeskError: there is no such batch.

    """
    batch = _known(await repository.batch(conn, batch_id), batch_id)
    return Explanation(
        batch,
        tuple(await repository.slots(conn, batch_id)),
        tuple(await repository.attempts(conn, batch_id)),
    )


async def retry(conn: AsyncConnection[TupleRow], batch_id: UUID) -> WaitingBatch:
    """Let a batch go on: by a new nonce, or where it has one still by what was signed for that.

    Returns:
        The batch as it was.

    Raises:
        DeskError: it does not wait, or its transaction is being cancelled.

    """
    batch = _known(await repository.lock(conn, batch_id), batch_id)
    if batch.state not in ("held", "needs_human"):
        raise DeskError(f"batch {batch_id} is {batch.state}: it does not wait for anybody")
    if batch.slot_purpose == "cancel":
        raise DeskError(
            f"nonce {batch.nonce} of batch {batch_id} is being cancelled; retry it once that is final"
        )
    if batch.nonce is None:
        await repository.set_sealed(conn, batch_id)
    else:
        await repository.set_sending(conn, batch_id)
    return batch


async def cancel(conn: AsyncConnection[TupleRow], batch_id: UUID, at: datetime) -> WaitingBatch:
    """Stop a batch: let its nonce be used up by nothing, where it has one.

    Which of the two transactions is mined decides. Either the batch is confirmed all the same, or, once that is final,
    it waits with the reason `cancelled` to be retried or released.

    Returns:
        The batch as it was.

    Raises:
        DeskError: it is settled, or its transaction is mined already.

    """
    batch = _known(await repository.lock(conn, batch_id), batch_id)
    if batch.state in ("final", "released"):
        raise DeskError(f"batch {batch_id} is {batch.state}: there is nothing to cancel")
    gives_way = batch.slot_purpose == "cancel"
    if gives_way and batch.reason != HoldReason.QUORUM:
        raise DeskError(f"nonce {batch.nonce} of batch {batch_id} is being cancelled already")
    if batch.nonce is not None:
        if not gives_way and not await repository.cancel_slot(conn, batch_id, at):
            raise DeskError(
                f"the transaction of batch {batch_id} is mined already; nothing can take nonce {batch.nonce} from it"
            )
        if batch.reason == HoldReason.QUORUM:
            # Otherwise it would go on by itself once its lane is open.
            await repository.set_sending(conn, batch_id)
    elif batch.state in ("sending", "included"):
        raise DeskError(
            f"batch {batch_id} is on chain already and awaits its event; nothing can be cancelled"
        )
    elif batch.state != "needs_human":
        await repository.set_cancelled(conn, batch_id, "cancelled by an operator before a nonce was taken")
    return batch


async def look(rpc: JsonRpc, batch: WaitingBatch) -> Sight:
    """Ask the chain what `release` has to know.

    Raises:
        RpcUnavailableError: the chain cannot be asked.
        RpcError: the node refuses to tell.

    """
    finalized = await Node(rpc).block("finalized")
    if finalized is None:
        raise rpc.nonsense("it has no finalized block; ask another node")
    client = RegistryClient(rpc, batch.chain_id, batch.registry)
    known = [await client.batch(batch.root, block) for block in (finalized.number, "latest")]
    return Sight(finalized, any(one is not None for one in known))


async def release(conn: AsyncConnection[TupleRow], batch_id: UUID, sight: Sight) -> WaitingBatch:
    """Give the jobs of a batch back, to be sealed again, if nothing of it can land any more.

    Every nonce that was taken for it was used up in a final block by something else, its signatures have run out
    before the time of the finalized block, and the registry does not know its root. The database checks all but the
    last again. The jobs go back by the relayer, soon after. The chain is asked before, by `look`: what could land no more
    by a final block cannot do so later.

    Returns:
        The batch as it was.

    Raises:
        DeskError: it does not wait, or something of it may land.

    """
    batch = _known(await repository.lock(conn, batch_id), batch_id)
    if batch.state not in ("sealed", "held", "needs_human"):
        raise DeskError(f"batch {batch_id} is {batch.state} and cannot be released")
    if batch.reason == HumanReason.INTEGRITY:
        raise DeskError(
            f"tickets of batch {batch_id} are spent under another root; its jobs cannot be confirmed by another batch"
        )
    finalized = sight.finalized
    for slot in await repository.slots(conn, batch_id):
        settled = slot.settled_number if slot.state in _DEAD else None
        if settled is None or settled > finalized.number:
            raise DeskError(
                f"what was signed for nonce {slot.nonce} of batch {batch_id} may still land ({slot.state}); "
                "cancel the batch, and release it once that is final"
            )
    if batch.deadline is not None and batch.deadline >= finalized.mined_at:
        raise DeskError(
            f"the signatures of batch {batch_id} hold until {batch.deadline:%Y-%m-%d %H:%M:%S} UTC; the finalized "
            f"block is of {finalized.mined_at:%Y-%m-%d %H:%M:%S} UTC"
        )
    if sight.is_known:
        raise DeskError(f"batch {batch_id} is confirmed on chain; its event will make it final")
    await repository.set_released(conn, batch_id, finalized)
    return batch


def _known(batch: WaitingBatch | None, batch_id: UUID) -> WaitingBatch:
    if batch is None:
        raise DeskError(f"there is no batch {batch_id}; `jobseal admin chain list` shows those that wait")
    return batch
