"""Hands attempts to the queue, fairly over tenants: row before effect.

PostgreSQL owns the work. The rows of a pass are committed before anything is pushed, so whatever Redis loses is
found as an attempt that is neither in the queue nor opened, and pushed again under a new id.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.jobs import dispatch_repository as repository
from relayer.jobs.dispatch_repository import Live, Look, NewTurn
from relayer.jobs.fair import Turn, Waiting, deal, share
from relayer.jobs.handlers.base import Mode
from relayer.jobs.handlers.registry import Handlers
from relayer.jobs.queue import JobQueue, Parcel
from relayer.jobs.records import NewAttempt
from relayer.model.clock import Clock
from relayer.model.ids import new_id
from relayer.settings import DispatcherSettings
from relayer.store import leases
from relayer.store.database import Database

LEASE = "dispatcher"
# How long an empty queue rests before it is looked at again: a moment at first, for a submission that commits late.
_SHORT_REST = timedelta(milliseconds=100)
_LONG_REST = timedelta(seconds=30)
# How often a pass looks for pushes that were lost, and notes why queues are held.
_SECOND = timedelta(seconds=1)
# How often it looks over all queues, for jobs that no row of `active_queues` tells of.
_MINUTE = timedelta(minutes=1)


@dataclass
class _Plan:
    """What a pass will write and push, and which queues are empty then."""

    turns: list[NewTurn] = field(default_factory=list)
    attempts: list[NewAttempt] = field(default_factory=list)
    parcels: dict[Mode, list[Parcel]] = field(default_factory=dict)
    drained: list[Look] = field(default_factory=list)
    left_some: bool = False


class Dispatcher:
    """Keeps the queues filled, fairly over tenants."""

    def __init__(
        self, db: Database, queue: JobQueue, handlers: Handlers, settings: DispatcherSettings, clock: Clock
    ) -> None:
        self._db = db
        self._queue = queue
        self._settings = settings
        self._clock = clock
        self._modes = {kind: handler.mode for kind, handler in handlers.items()}
        self._parcel_sizes = {Mode.INLINE: settings.inline_chunk, Mode.ISOLATED: 1}
        self._kind_caps: dict[str, int] = {}
        self._isolated_workers = 0
        self._next: dict[timedelta, datetime] = {}
        self._left_some = False

    @property
    def left_some(self) -> bool:
        """Whether the last pass saw more jobs than it took, so that another one may have some at once."""
        return self._left_some

    async def run_pass(self, epoch: int) -> int:
        """Push again what the queue lost, then fill each queue's window; give how many attempts were pushed.

        Raises:
            LeaseLostError: another process leads; nothing was written.
            UnavailableError: a store is away; the next pass goes on from the rows.

        """
        pushed = 0
        if self._is_time(_MINUTE):
            await self._sweep(epoch)
            self._note_done(_MINUTE)
        if self._is_time(_SECOND):
            await self._note_holds(epoch)
            pushed += await self._push_again(epoch)
            self._note_done(_SECOND)
        return pushed + await self._fill(epoch)

    async def _fill(self, epoch: int) -> int:
        at = self._clock()
        async with self._db.statement() as conn:
            rings, live = await repository.survey(conn, self._modes, at, self._settings.inline_window)
            plan = await self._plan(conn, rings, live, at)
            if plan.turns and not await repository.write_deal(
                conn, LEASE, epoch, turns=plan.turns, attempts=plan.attempts, at=at
            ):
                raise leases.LeaseLostError(LEASE)
        for mode, parcels in plan.parcels.items():
            await self._queue.push(mode, parcels)
        self._left_some = plan.left_some
        # No job waits for this, so it comes last.
        if plan.drained:
            async with self._db.statement() as conn:
                await repository.rest_queues(conn, plan.drained, at, short=_SHORT_REST, long=_LONG_REST)
        return len(plan.attempts)

    async def _plan(
        self, conn: AsyncConnection[TupleRow], rings: Mapping[Mode, Sequence[Turn]], live: Live, at: datetime
    ) -> _Plan:
        """Choose whose attempts are next."""
        kind_room = {kind: max(0, cap - live.by_kind.get(kind, 0)) for kind, cap in self._kind_caps.items()}
        plan = _Plan()
        for mode, whole_ring in rings.items():
            room = self._window(mode, live) - live.queued[mode]
            # A tenant's cap holds over both modes.
            dealt = Counter(one.tenant_id for one in plan.attempts)
            ring = [
                replace(turn, allowance=left)
                for turn in whole_ring
                if (left := turn.allowance - dealt[turn.tenant_id]) > 0
            ]
            if ring and room > 0:
                await self._choose(conn, plan, mode, ring[:room], room=room, kind_room=kind_room, at=at)
        return plan

    async def _choose(
        self,
        conn: AsyncConnection[TupleRow],
        plan: _Plan,
        mode: Mode,
        ring: Sequence[Turn],
        *,
        room: int,
        kind_room: Mapping[str, int],
        at: datetime,
    ) -> None:
        kinds = [kind for kind, its in self._modes.items() if its is mode and kind_room.get(kind) != 0]
        quotas = dict(zip((turn.tenant_id for turn in ring), share(ring, room), strict=True))
        waiting, looks = await repository.waiting(conn, quotas, kinds, at)
        dealt = deal(ring, waiting, room, kind_room)
        left = {one.job_id for one in waiting} - {one.job_id for one in dealt.chosen}
        drained = list(_drained(looks, [one for one in waiting if one.job_id in left]))
        plan.drained += drained
        plan.left_some |= len(drained) < len(looks)
        stay = [tenant for tenant in dealt.deficits if tenant not in dealt.moved]
        plan.turns += [
            NewTurn(mode, tenant, tenant in dealt.moved, dealt.deficits[tenant])
            for tenant in [*stay, *dealt.moved]
        ]
        jobs = {new_id(): one for one in dealt.chosen}
        parcels = list(self._parcels(mode, [(id_, one.is_suspect) for id_, one in jobs.items()]))
        plan.parcels[mode] = parcels
        plan.attempts += [
            NewAttempt(id_, one.job_id, one.tenant_id, one.kind, one.priority, mode, parcel.queue_job_id)
            for parcel in parcels
            for id_ in parcel.attempts
            for one in [jobs[id_]]
        ]

    async def _push_again(self, epoch: int) -> int:
        at = self._clock()
        async with self._db.transaction() as conn:
            overdue = await repository.overdue(conn, at - self._settings.push_again_after)
        pushed = 0
        for mode in Mode:
            late = [one for one in overdue if one.mode == mode]
            if not late:
                continue
            waiting = await self._queue.waiting(mode)
            parcels = list(
                self._parcels(
                    mode, [(one.id, one.is_suspect) for one in late if one.queue_job_id not in waiting]
                )
            )
            if not parcels:
                continue
            addresses = [(attempt, parcel.queue_job_id) for parcel in parcels for attempt in parcel.attempts]
            async with self._db.transaction() as conn:
                await leases.require(conn, LEASE, epoch)
                await repository.readdress(conn, addresses, at)
            await self._queue.push(mode, parcels)
            pushed += len(addresses)
        return pushed

    async def _sweep(self, epoch: int) -> None:
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            await repository.find_queues(conn)

    async def _note_holds(self, epoch: int) -> None:
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            self._kind_caps = await repository.kind_caps(conn)
            self._isolated_workers = await repository.processes(conn, Mode.ISOLATED)
            await repository.note_holds(conn, self._modes)
            await repository.forget_idle(conn, self._clock())

    def _window(self, mode: Mode, live: Live) -> int:
        """Give how many attempts may wait in a mode's queue.

        An isolated one may run for hours, and what waits in the queue waits in its order, whoever comes meanwhile.
        """
        if mode is Mode.INLINE:
            return self._settings.inline_window
        free = max(0, self._isolated_workers - live.running[mode])
        return free + self._settings.isolated_reserve

    def _is_time(self, every: timedelta) -> bool:
        """Whether something that is done at intervals is due."""
        at = self._clock()
        return at >= self._next.get(every, at)

    def _note_done(self, every: timedelta) -> None:
        """Note that what is done at this interval was done just now."""
        self._next[every] = self._clock() + every

    def _parcels(self, mode: Mode, attempts: Sequence[tuple[UUID, bool]]) -> Iterator[Parcel]:
        """Pack attempts, given with whether they are suspect; a suspect of a shared process has it for itself."""
        size = self._parcel_sizes[mode]
        packed: dict[bool, list[UUID]] = {False: [], True: []}
        for id_, is_suspect in attempts:
            packed[is_suspect and mode is Mode.INLINE].append(id_)
        for start in range(0, len(packed[False]), size):
            yield Parcel(new_id(), tuple(packed[False][start : start + size]))
        for id_ in packed[True]:
            yield Parcel(new_id(), (id_,), alone=True)


def _drained(looks: Sequence[Look], left: Sequence[Waiting]) -> Iterator[Look]:
    """Give the queues that had no more than was taken."""
    still = {(one.tenant_id, one.kind, one.priority) for one in left}
    for look in looks:
        if look.found < look.quota and (look.tenant_id, look.kind, look.priority) not in still:
            yield look
