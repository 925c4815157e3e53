"""Reading both sides of a reconciliation: the database in one snapshot, then the chain at the block of the snapshot."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from relayer.batches import reconcile_repository as repository
from relayer.batches import registry_state
from relayer.batches.reconcile import ChainView, DatabaseView, EventKey
from relayer.batches.reconcile_repository import Position
from relayer.chain.node import Block, Node
from relayer.chain.registry import BATCH_CONFIRMED_TOPIC
from relayer.chain.registry_reader import CALLS, RegistryReader
from relayer.chain.registry_view import view_registry
from relayer.chain.rpc import JsonRpc
from relayer.store.database import Database
from relayer.store.registries import RegistryRow

SHALLOW_BLOCKS = 2_000
"""Over how many blocks events are compared where not all are."""


@dataclass(frozen=True)
class Survey:
    """Up to where the indexer has read, and what the database says there; `first_block` is that of the compared events."""

    position: Position
    first_block: int
    database: DatabaseView


async def read_database(db: Database, registry: RegistryRow, *, full: bool) -> Survey | None:
    """Read one snapshot; None before the indexer's first range."""
    async with db.transaction() as conn:
        await repository.snapshot(conn)
        position = await repository.position(conn, registry.id)
        if position is None:
            return None
        first = (
            registry.first_block
            if full
            else max(registry.first_block, position.block_number - SHALLOW_BLOCKS)
        )
        batches = await repository.batches(conn, registry.id, every=full)
        wanted = await repository.indices(conn, [one.id for one in batches], every=full)
        confirmed, revoked = await repository.tickets(conn, registry.id, wanted, position.block_number)
        database = DatabaseView(
            batches=batches,
            words=await repository.words(conn, registry.id, wanted),
            tickets=confirmed,
            revoked=revoked,
            events=await repository.events(
                conn, registry.id, registry.chain_id, registry.address, (first, position.block_number)
            ),
            slots=await repository.open_slots(conn, registry.chain_id),
            sender=await repository.sender(conn, registry.chain_id),
            observed=(await registry_state.read(conn, registry.id)).observed,
        )
    return Survey(position, first, database)


async def read_chain(rpc: JsonRpc, registry: RegistryRow, survey: Survey, at: Block) -> ChainView:
    """Read the same of one node, at a block that it must still have at this height in the end.

    Raises:
        RpcUnavailableError: the node is away, makes no sense, or left the block meanwhile.
        RpcError: the node refuses a read, for example because it forgot the state of the block.

    """
    database = survey.database
    reader = RegistryReader(rpc, registry.address, at)
    words = sorted({word.index for word in database.words} | database.tickets.keys())
    events = {_key(log): _root(log) async for log in reader.logs(survey.first_block, at.number)}
    nonce, latest_nonce, balance = await _account(rpc, database.sender, at)
    chain = ChainView(
        at=at,
        batches=await reader.batches([batch.root for batch in database.batches]),
        words=await reader.words(words),
        events=events,
        nonce=nonce,
        latest_nonce=latest_nonce,
        mined=await _mined(rpc, [one for slot in database.slots for one in slot.hashes]),
        balance=balance,
        registry=None
        if database.sender is None
        else await view_registry(Node(rpc), registry.address, database.sender, at),
    )
    again = await Node(rpc).block(at.number)
    if again is None or again.hash != at.hash:
        raise rpc.nonsense(f"block {at.number} was final, and the node has another one now")
    return chain


async def _account(rpc: JsonRpc, account: bytes | None, at: Block) -> tuple[int, int, int]:
    """Nonce at the block, nonce and balance at the head; zeros without an account."""
    if account is None:
        return 0, 0, 0
    address = f"0x{account.hex()}"
    by_hash = {"blockHash": f"0x{at.hash.hex()}", "requireCanonical": True}
    answers = await rpc.batch(
        [
            ("eth_getTransactionCount", (address, by_hash)),
            ("eth_getTransactionCount", (address, "latest")),
            ("eth_getBalance", (address, "latest")),
        ]
    )
    nonce, latest_nonce, balance = (int(answer, 16) for answer in answers)
    return nonce, latest_nonce, balance


async def _mined(rpc: JsonRpc, hashes: Sequence[bytes]) -> AbstractSet[bytes]:
    node = Node(rpc)
    mined: set[bytes] = set()
    for start in range(0, len(hashes), CALLS):
        mined |= (await node.receipts(hashes[start : start + CALLS])).keys()
    return mined


def _key(log: Mapping[str, Any]) -> EventKey:
    return int(log["blockNumber"], 16), bytes.fromhex(log["blockHash"][2:]), int(log["logIndex"], 16)


def _root(log: Mapping[str, Any]) -> bytes | None:
    topics = log["topics"]
    tells = topics and topics[0] == f"0x{BATCH_CONFIRMED_TOPIC.hex()}"
    return bytes.fromhex(topics[1][2:]) if tells else None
