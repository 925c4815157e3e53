"""What operators see and do about nonces that nodes refuse and no batch that waits shows.

Such a nonce fills a gap, or is to be used up by nothing after its batch was confirmed otherwise. Everything above it waits.
"""

from dataclasses import dataclass
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.batches import desk_repository
from relayer.batches.desk import DeskError
from relayer.chain import slot_repository
from relayer.chain.slot_repository import Account
from relayer.chain.slots import Slot


@dataclass(frozen=True)
class RefusedNonce:
    """A nonce slot that nothing is sent for until an operator has looked at it, and whose it is."""

    account: Account
    slot: Slot


async def list_refused(conn: AsyncConnection[TupleRow]) -> list[RefusedNonce]:
    """Give the refused nonces whose batches do not wait, by account and nonce."""
    shown = {batch.id for batch in await desk_repository.waiting(conn)}
    return [
        RefusedNonce(account, slot)
        for account in await slot_repository.accounts(conn)
        for slot in await slot_repository.open_slots(conn, account)
        if slot.asks_for_a_human and slot.batch_id not in shown
    ]


async def find(conn: AsyncConnection[TupleRow], slot_id: UUID) -> RefusedNonce | None:
    """Give one of these by the id of its slot; None where the id is of something else."""
    return next((one for one in await list_refused(conn) if one.slot.id == slot_id), None)


async def retry(conn: AsyncConnection[TupleRow], slot_id: UUID) -> RefusedNonce:
    """Let what was signed for a nonce be sent again, however often nodes refused it; give it as it was.

    Raises:
        DeskError: no nonce is refused under this id.

    """
    refused = await find(conn, slot_id)
    if refused is None:
        raise DeskError(
            f"no nonce with the id {slot_id} is refused; `jobseal admin chain list` shows those that are"
        )
    await desk_repository.send_again(conn, slot_id)
    return refused
