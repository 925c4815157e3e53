"""Comparing the database with the chain at one final block: pure functions over what was read of both.

The block is the last one that the indexer has read, so that whatever is in it should be in the database too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from relayer.batches.differences import Difference, DifferenceClass
from relayer.chain.node import Block
from relayer.chain.registry import BatchInfo
from relayer.chain.registry_view import RegistryView

OVERDUE_AFTER = timedelta(hours=1)
"""How long a nonce slot may be open."""
BLOCKS_BEHIND = 64
"""How many final blocks the indexer may still have to read; nodes forget states soon after."""
LOW_BALANCE = 20
"""For how many transactions at the cap the sender's balance should last."""
OUT_OF_BALANCE = 3
"""Below so many the sender holds."""

EventKey = tuple[int, bytes, int]
"""Height, block hash, log index."""


@dataclass(frozen=True)
class BatchRow:
    """A batch in the database, with how many of its jobs are in either state; `block_number` is of its confirmation."""

    id: UUID
    root: bytes
    state: str
    leaf_count: int
    block_number: int | None
    confirming: int
    confirmed: int


@dataclass(frozen=True)
class WordRow:
    """A word of a batch: its index and the mask of its tickets; `final_block` is where the database has it confirmed."""

    root: bytes
    index: int
    mask: int
    final_block: int | None


@dataclass(frozen=True)
class Event:
    """An event of the registry: the root, where it tells of a batch, and whether the database knows that batch."""

    root: bytes | None
    is_known: bool


@dataclass(frozen=True)
class SlotRow:
    """An open nonce slot, with the hash of everything signed for it."""

    sender: bytes
    nonce: int
    state: str
    created_at: datetime
    hashes: Sequence[bytes]


@dataclass(frozen=True)
class DatabaseView:
    """What the database says, in one snapshot.

    Attributes:
        batches: those that are compared.
        words: of every batch, imported ones too, that touches a compared word.
        tickets: masks of the tickets that confirmed jobs have, by compared word.
        revoked: of those, the ones whose jobs are revoked.
        events: the final events that are kept, from the first block that is compared.
        slots: the open ones.
        sender: the account that took the last nonce.
        observed: what was last seen of the registry.

    """

    batches: Sequence[BatchRow]
    words: Sequence[WordRow]
    tickets: Mapping[int, int]
    revoked: Mapping[int, int]
    events: Mapping[EventKey, Event]
    slots: Sequence[SlotRow]
    sender: bytes | None
    observed: RegistryView | None


@dataclass(frozen=True)
class ChainView:
    """What one node says of the same, all of it at the block `at` but for `latest_nonce` and `balance`.

    Attributes:
        batches: what the registry keeps under the compared roots.
        words: spent and revoked tickets of the compared words, as masks.
        events: every event of the registry, from the first block that is compared; the root, where it tells of a batch.
        nonce: of the sender's account, how many nonces are used.
        mined: which of the open slots' hashes have a receipt.
        balance: of the sender's account, in wei.

    """

    at: Block
    batches: Mapping[bytes, BatchInfo]
    words: Mapping[int, tuple[int, int]]
    events: Mapping[EventKey, bytes | None]
    nonce: int
    latest_nonce: int
    mined: AbstractSet[bytes]
    balance: int
    registry: RegistryView | None


def compare(database: DatabaseView, chain: ChainView, now: datetime, worst_case: int) -> list[Difference]:
    """Every difference, in the order of the rule table; `worst_case` is the price of a transaction at the cap, in wei."""
    found = [
        *_batches(database, chain),
        *_words(database, chain),
        *_events(database, chain),
        *_registry(database, chain),
        *_slots(database, chain, now),
        *_balance(database, chain, worst_case),
    ]
    order = list(DifferenceClass)
    return sorted(found, key=lambda one: order.index(one.kind))


# --- batches ---------------------------------------------------------------------------------------------------


def _batches(database: DatabaseView, chain: ChainView) -> Iterator[Difference]:
    for batch in database.batches:
        info = chain.batches.get(batch.root)
        name = f"batch {batch.id}"
        if info is None:
            yield from _unconfirmed(batch, name, chain.at)
            continue
        known = f"{info.jobs} jobs, confirmed at {info.confirmed_at:%Y-%m-%d %H:%M:%S} by 0x{info.submitter.hex()}"
        if batch.state == "released":
            yield Difference(DifferenceClass.RELEASED_BATCH, name, "released", known)
        elif batch.state != "final":
            yield Difference(DifferenceClass.UNAPPLIED_BATCH, name, batch.state, known)
        elif batch.confirming:
            yield Difference(
                DifferenceClass.UNAPPLIED_JOBS, name, f"final, {batch.confirming} jobs confirming", known
            )
        if info.jobs != batch.leaf_count:
            yield Difference(
                DifferenceClass.LEAF_COUNT, name, f"{batch.leaf_count} leaves", f"{info.jobs} jobs"
            )


def _unconfirmed(batch: BatchRow, name: str, at: Block) -> Iterator[Difference]:
    """What the database may not claim of a root that the registry does not know at a block."""
    if batch.block_number is not None and batch.block_number > at.number:
        return
    if batch.state == "final":
        says = f"final in block {batch.block_number}, {batch.confirmed} jobs confirmed"
        yield Difference(DifferenceClass.UNCONFIRMED_BATCH, name, says)
    elif batch.confirmed:
        says = f"{batch.state}, {batch.confirmed} jobs confirmed"
        yield Difference(DifferenceClass.UNCONFIRMED_JOBS, name, says)


# --- words -----------------------------------------------------------------------------------------------------


def _words(database: DatabaseView, chain: ChainView) -> Iterator[Difference]:
    claimed = claimed_masks(database.words, chain.at.number)
    known = _masks(word for word in database.words if word.root in chain.batches)
    for index, (spent, revoked) in sorted(chain.words.items()):
        name = f"word {index}"
        ours = database.tickets.get(index, 0)
        expected = claimed.get(index, 0) | ours
        if missing := expected & ~spent:
            yield Difference(DifferenceClass.MISSING_BITS, name, _bits(missing), "not spent")
        if foreign := spent & ~expected & ~known.get(index, 0):
            yield Difference(DifferenceClass.FOREIGN_BITS, name, None, _bits(foreign))
        if unapplied := revoked & ours & ~database.revoked.get(index, 0):
            yield Difference(
                DifferenceClass.UNAPPLIED_REVOCATION, name, "not revoked", f"{_bits(unapplied)} revoked"
            )


def claimed_masks(words: Iterable[WordRow], height: int) -> dict[int, int]:
    """Give the tickets that the database has as confirmed up to a block, by word."""
    return _masks(word for word in words if word.final_block is not None and word.final_block <= height)


def _masks(words: Iterable[WordRow]) -> dict[int, int]:
    masks: dict[int, int] = {}
    for word in words:
        masks[word.index] = masks.get(word.index, 0) | word.mask
    return masks


def _bits(mask: int) -> str:
    """A mask for people: how many tickets, and the first few by their position."""
    positions = [bit for bit in range(256) if mask >> bit & 1]
    shown = ", ".join(map(str, positions[:4]))
    more = ", …" if len(positions) > 4 else ""
    return f"{len(positions)} tickets (bits {shown}{more})"


# --- events ----------------------------------------------------------------------------------------------------


def _events(database: DatabaseView, chain: ChainView) -> Iterator[Difference]:
    for key in sorted(chain.events.keys() - database.events.keys()):
        yield Difference(DifferenceClass.MISSING_EVENT, _event(key), None, _told(chain.events[key]), key[0])
    for key in sorted(database.events.keys() - chain.events.keys()):
        says = _told(database.events[key].root)
        yield Difference(DifferenceClass.UNKNOWN_EVENT, _event(key), says, None, key[0])
    for key in sorted(chain.events.keys() & database.events.keys()):
        event = database.events[key]
        if event.root is not None and not event.is_known:
            name = f"root 0x{event.root.hex()}"
            yield Difference(DifferenceClass.FOREIGN_BATCH, name, None, _event(key), key[0])


def _event(key: EventKey) -> str:
    height, _, log_index = key
    return f"event {log_index} of block {height}"


def _told(root: bytes | None) -> str:
    return "another event" if root is None else f"root 0x{root.hex()}"


# --- registry, slots, balance ----------------------------------------------------------------------------------


def _registry(database: DatabaseView, chain: ChainView) -> Iterator[Difference]:
    """Only an observation that is older than the block can be out of date there."""
    was, now = database.observed, chain.registry
    if was is None or now is None or was.block_number > chain.at.number:
        return
    for name, before, after in (
        ("paused", was.paused, now.paused),
        ("confirmer role", was.confirmer_role, now.confirmer_role),
        ("implementation", f"0x{was.implementation.hex()}", f"0x{now.implementation.hex()}"),
        ("code hash", f"0x{was.code_hash.hex()}", f"0x{now.code_hash.hex()}"),
    ):
        if before != after:
            yield Difference(DifferenceClass.REGISTRY_STATE, name, _shown(before), _shown(after))


def _shown(value: bool | str) -> str:
    return value if isinstance(value, str) else "yes" if value else "no"


def _slots(database: DatabaseView, chain: ChainView, now: datetime) -> Iterator[Difference]:
    for slot in database.slots:
        name = f"nonce {slot.nonce}"
        if slot.nonce < chain.nonce and chain.mined.isdisjoint(slot.hashes):
            yield Difference(
                DifferenceClass.SUPERSEDED_SLOT, name, slot.state, f"used before block {chain.at.number + 1}"
            )
        elif now - slot.created_at > OVERDUE_AFTER:
            says = f"{slot.state} since {slot.created_at:%Y-%m-%d %H:%M:%S}"
            yield Difference(DifferenceClass.OVERDUE_SLOT, name, says)
    lowest = min((slot.nonce for slot in database.slots), default=None)
    if lowest is not None and chain.latest_nonce < lowest:
        yield Difference(
            DifferenceClass.NONCE_GAP,
            f"nonces {chain.latest_nonce} to {lowest - 1}",
            "no open slot",
            f"next nonce {chain.latest_nonce}",
        )


def _balance(database: DatabaseView, chain: ChainView, worst_case: int) -> Iterator[Difference]:
    if database.sender is None:
        return
    lasts = chain.balance // worst_case
    if lasts < LOW_BALANCE:
        kind = DifferenceClass.BALANCE_OUT if lasts < OUT_OF_BALANCE else DifferenceClass.BALANCE_LOW
        yield Difference(kind, f"account 0x{database.sender.hex()}", None, f"{lasts} transactions at the cap")
