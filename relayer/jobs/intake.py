"""Makes the jobs that were asked for: rows, tickets, first events and idempotency keys in one transaction.

Lone submissions that come while others are being committed are committed together, whoever's they are: one round trip
and one flush of the disk serve them all, and each has an outcome of its own. What needs more than that goes apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow

from relayer.jobs import blob_repository, repository
from relayer.jobs import submission_repository as submissions
from relayer.jobs.blob_references import parse_reference
from relayer.jobs.errors import WaitingCapError
from relayer.jobs.quotas import Allowance, Quotas
from relayer.jobs.records import Job
from relayer.jobs.submission import Prepared
from relayer.jobs.submission_repository import UsedKey
from relayer.jobs.waiting_room import WaitingRoom
from relayer.model.errors import IdempotencyKeyReusedError, JobsealError, UnavailableError, UnknownBlobError
from relayer.store.coalescer import Coalescer
from relayer.store.database import Database, TookTooLongError, act_for

# While one group is being committed, the next one may be on its way.
_LANES = 2


@dataclass(frozen=True)
class Submitted:
    """The job of a submission; `replayed` where an earlier request with the same key made it."""

    job: Job
    replayed: bool


Outcome = Submitted | JobsealError


@dataclass
class _Order:
    """What one tenant asks for by one route, by number; `open` is what has no outcome yet.

    `is_near`: so near a quota that it has to be judged in the transaction that submits.
    """

    tenant: UUID
    route: str
    open: dict[int, Prepared]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    is_near: bool = False

    @classmethod
    def of(cls, prepared: Sequence[Prepared]) -> "_Order":
        first = prepared[0].new
        return cls(first.tenant, first.route, dict(enumerate(prepared)))

    @property
    def at(self) -> datetime:
        return next(iter(self.open.values())).new.at

    def keys(self, numbers: Iterable[int]) -> set[str]:
        return {key for number in numbers if (key := self.open[number].new.key) is not None}

    def end(self, number: int, outcome: Outcome) -> None:
        del self.open[number]
        self.outcomes[number] = outcome

    def without_repeats(self) -> dict[int, Prepared]:
        """Give the first of each key: a statement that claims a key twice would wait for itself."""
        seen: set[str] = set()
        firsts = {}
        for number, one in self.open.items():
            if one.new.key is None or one.new.key not in seen:
                firsts[number] = one
            seen |= {one.new.key} - {None}  # type: ignore[arg-type]
        return firsts


class _ApartError(Exception):
    """A submission was not made in its group, and nothing of it was kept: it is to be made by itself."""


class Intake:
    """Lets jobs in, in the role of the API."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._quotas = Quotas(db)
        self._waiting_room = WaitingRoom(db)
        self._together = Coalescer[Prepared, Submitted](self._take_group, lanes=_LANES)

    async def take(self, one: Prepared) -> Submitted:
        """Make a job, together with whatever else comes at the moment.

        Raises:
            UnknownBlobError: the input names a blob that is not the tenant's.
            IdempotencyKeyReusedError: the key came before with another fingerprint.
            QuotaExceededError: the tenant used up a quota.
            WaitingCapError: the tenant has as many waiting jobs as it may have.
            UnavailableError: the database is away.

        """
        order = _Order.of([one])
        await self._admit(order)
        if order.open and not order.is_near and not one.references:
            with suppress(_ApartError):
                return await self._together(one)
        await self._make(order)
        outcome = order.outcomes[0]
        if isinstance(outcome, JobsealError):
            raise outcome
        return outcome

    async def take_all(self, prepared: Sequence[Prepared]) -> list[Outcome]:
        """Make jobs of one tenant and route, in one transaction; give for each its job or the error of `take`.

        Raises:
            UnavailableError: the database is away; none was made.

        """
        order = _Order.of(prepared)
        await self._admit(order)
        await self._make(order)
        return [order.outcomes[number] for number in range(len(prepared))]

    async def _make(self, order: _Order) -> None:
        """Make an order's jobs in a transaction of their own."""
        if not order.open:
            return
        async with self._db.transaction(order.tenant) as conn:
            if order.is_near:
                wanted = len(order.open)
                allowance = await self._quotas.allow_exactly(conn, order.tenant, wanted, order.at)
                if allowance.exceeded is not None:
                    await _refuse_beyond(conn, order, allowance.jobs, allowance.exceeded)
            await _refuse_unowned(conn, order)
            if order.open:
                news = order.without_repeats()
                insertion = submissions.insertion(
                    order.tenant, order.route, [one.new for one in news.values()]
                )
                inserted = await submissions.insert_jobs(conn, insertion)
                made = await submissions.tickets(inserted)
                await _use_blobs(conn, [one for one in news.values() if one.new.id in made])
                _settle_made(order, made)
                await _replay(conn, order)

    async def _take_group(self, group: Sequence[Prepared]) -> list[Submitted | Exception]:
        """Make admitted submissions of several tenants in one round trip; who cannot be made so is told to go apart."""
        orders = _orders(group)
        try:
            inserted = await self._insert(orders)
        except Exception as error:
            is_away = isinstance(error, UnavailableError) and not isinstance(error, TookTooLongError)
            if is_away or (len(group) == 1 and not isinstance(error, psycopg.errors.LockNotAvailable)):
                raise
            # One of them broke the transaction of all.
            return [_ApartError() for _ in group]
        for order, cursor in inserted:
            _settle_made(order, await submissions.tickets(cursor))
        outcomes = {number: outcome for order in orders for number, outcome in order.outcomes.items()}
        # The keys of the others were used before.
        return [outcomes.get(number) or _ApartError() for number in range(len(group))]

    async def _insert(self, orders: Sequence[_Order]) -> list[tuple[_Order, AsyncCursor[TupleRow]]]:
        """Make the jobs of orders in one pipelined transaction; give what tells their tickets."""
        # In one order everywhere, so that no two groups wait for each other.
        insertions = [
            submissions.insertion(
                order.tenant, order.route, [one.new for one in order.without_repeats().values()]
            )
            for order in orders
        ]
        inserted = []
        async with self._db.pipelined() as conn:
            await submissions.wait_briefly_for_locks(conn)
            for insertion in insertions:
                await act_for(conn, insertion.tenant)
                inserted.append(await submissions.insert_jobs(conn, insertion))
        return list(zip(orders, inserted, strict=True))

    async def _admit(self, order: _Order) -> None:
        """Keep what the quotas allow and what may wait."""
        wanted = len(order.open)
        allowance = await self._quotas.allow(order.tenant, wanted, order.at)
        order.is_near = allowance is None
        allowance = allowance or Allowance(wanted)
        room, cap = await self._waiting_room.enter(order.tenant, allowance.jobs)
        if room == wanted:
            return
        is_full = allowance.exceeded is None or room < allowance.jobs
        refusal = WaitingCapError(cap) if is_full else allowance.exceeded
        assert refusal is not None
        await self._db.read(order.tenant, lambda conn: _refuse_beyond(conn, order, room, refusal))


async def _refuse_beyond(
    conn: AsyncConnection[TupleRow], order: _Order, room: int, refusal: JobsealError
) -> None:
    """Keep as many as there is room for; a request that was accepted before needs none."""
    known = set(
        await submissions.used_keys(conn, order.tenant, order.route, order.keys(order.open), order.at)
    )
    for number, one in list(order.open.items()):
        if one.new.key is not None and one.new.key in known:
            continue
        if room > 0:
            room -= 1
            known |= order.keys([number])
        else:
            order.end(number, refusal)


def _orders(group: Sequence[Prepared]) -> list[_Order]:
    """Sort submissions by tenant and route."""
    orders: dict[tuple[UUID, str], _Order] = {}
    for number, one in enumerate(group):
        key = (one.new.tenant, one.new.route)
        orders.setdefault(key, _Order(*key, {})).open[number] = one
    return [orders[key] for key in sorted(orders)]


def _settle_made(order: _Order, made: Mapping[UUID, int]) -> None:
    """Give their outcome to the submissions whose jobs were made, with these tickets."""
    for number, one in list(order.open.items()):
        if one.new.id in made:
            order.end(number, Submitted(one.new.job(made[one.new.id]), replayed=False))


async def _replay(conn: AsyncConnection[TupleRow], order: _Order) -> None:
    """Give their outcome to submissions whose key was taken: its earlier job, or an error for another request."""
    if not order.open:
        return
    used = await submissions.used_keys(conn, order.tenant, order.route, order.keys(order.open), order.at)
    earlier = await earlier_jobs(conn, order.tenant, used)
    for number, one in list(order.open.items()):
        assert one.new.key is not None
        if one.new.key not in used:
            # Its time ran out this very moment, and the janitor was quick.
            order.end(number, UnavailableError("the idempotency key has just ended; send the request again"))
        elif used[one.new.key].fingerprint != one.new.fingerprint:
            order.end(number, IdempotencyKeyReusedError(one.new.key))
        else:
            order.end(number, earlier[one.new.key])


async def earlier_jobs(
    conn: AsyncConnection[TupleRow], tenant: UUID, used: Mapping[str, UsedKey]
) -> dict[str, Outcome]:
    """Give by key what earlier requests made; an error where it is gone."""
    jobs = {key: its.job_id for key, its in used.items()}
    found = await repository.jobs_by_id(conn, tenant, {its for its in jobs.values() if its is not None})
    gone = UnavailableError("the job that the idempotency key made is gone; send the request with a new key")
    return {key: Submitted(found[its], replayed=True) if its in found else gone for key, its in jobs.items()}


async def _refuse_unowned(conn: AsyncConnection[TupleRow], order: _Order) -> None:
    """Keep the submissions whose blobs are the tenant's; one that was accepted before needs them no more."""
    hashes = {
        reference: parse_reference(reference)
        for one in order.open.values()
        for _, reference in one.references
    }
    if not hashes:
        return
    owned = await blob_repository.hold_owned(
        conn, order.tenant, {blob_hash for blob_hash in hashes.values() if blob_hash is not None}
    )
    refused: dict[int, UnknownBlobError] = {}
    for number, one in order.open.items():
        for pointer, reference in one.references:
            if hashes[reference] not in owned:
                refused[number] = UnknownBlobError(reference, pointer)
                break
    if not refused:
        return
    used = await submissions.used_keys(conn, order.tenant, order.route, order.keys(refused), order.at)
    for number, error in refused.items():
        if order.open[number].new.key not in used:
            order.end(number, error)


async def _use_blobs(conn: AsyncConnection[TupleRow], made: Sequence[Prepared]) -> None:
    """Write down which blobs the inputs of new jobs name, so that they stay."""
    uses = {
        (one.new.tenant, blob_hash, one.new.id)
        for one in made
        for _, reference in one.references
        if (blob_hash := parse_reference(reference)) is not None
    }
    if uses:
        await blob_repository.use_blobs(conn, uses)
