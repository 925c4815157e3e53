"""Chooses whose turn it is, and hands attempts to the queue: row before effect.

PostgreSQL owns the work. The rows of a pass are committed before anything is pushed, so whatever Redis loses is
found as an attempt that is neither in the queue nor opened, and pushed again under a new id.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from relayer.jobs import attempt_repository as attempts
from relayer.jobs.handlers.base import Mode
from relayer.jobs.handlers.registry import Handlers, kinds_of
from relayer.jobs.queue import JobQueue, Parcel
from relayer.jobs.records import NewAttempt
from relayer.model.clock import Clock
from relayer.model.ids import new_id
from relayer.settings import DispatcherSettings
from relayer.store import leases
from relayer.store.database import Database

LEASE = "dispatcher"
# How often jobs are looked for that nothing installed can run; a full look at all that wait.
_LOOK_FOR_UNKNOWN_KINDS = timedelta(minutes=1)


class Dispatcher:
    """Keeps the queues filled, fairly over tenants."""

    def __init__(
        self, db: Database, queue: JobQueue, handlers: Handlers, settings: DispatcherSettings, clock: Clock
    ) -> None:
        self._db = db
        self._queue = queue
        self._handlers = handlers
        self._settings = settings
        self._clock = clock
        self._windows = {Mode.INLINE: settings.inline_window, Mode.ISOLATED: settings.isolated_window}
        self._parcel_sizes = {Mode.INLINE: settings.inline_chunk, Mode.ISOLATED: 1}
        self._next_look: datetime | None = None

    async def run_pass(self, epoch: int) -> int:
        """Push again what the queue lost, then fill each queue's window; give how many attempts were pushed.

        Raises:
            LeaseLostError: another process leads; nothing was written.
            UnavailableError: a store is away; the next pass goes on from the rows.

        """
        pushed = 0
        for mode in Mode:
            pushed += await self._push_again(mode, epoch)
            pushed += await self._fill(mode, epoch)
        await self._mark_unknown_kinds(epoch)
        return pushed

    async def _fill(self, mode: Mode, epoch: int) -> int:
        kinds = kinds_of(self._handlers, mode)
        at = self._clock()
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            room = self._windows[mode] - await attempts.count_queued(conn, mode)
            if room <= 0 or not kinds:
                return 0
            chosen = await attempts.next_jobs(
                conn, mode=mode, kinds=kinds, room=room, cap=self._settings.tenant_cap, at=at
            )
            if not chosen:
                return 0
            tenants = dict(chosen)
            jobs = {new_id(): job_id for job_id, _ in chosen}
            parcels = list(self._parcels(mode, list(jobs)))
            await attempts.insert_attempts(
                conn,
                [
                    NewAttempt(attempt, jobs[attempt], tenants[jobs[attempt]], mode, parcel.queue_job_id)
                    for parcel in parcels
                    for attempt in parcel.attempts
                ],
                at,
            )
        await self._queue.push(mode, parcels)
        return len(chosen)

    async def _push_again(self, mode: Mode, epoch: int) -> int:
        at = self._clock()
        async with self._db.transaction() as conn:
            overdue = await attempts.overdue(conn, mode, at - self._settings.push_again_after)
        if not overdue:
            return 0
        waiting = await self._queue.waiting(mode)
        missing = [attempt for attempt, queue_job in overdue if queue_job not in waiting]
        parcels = list(self._parcels(mode, missing))
        if not parcels:
            return 0
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            addresses = [(attempt, parcel.queue_job_id) for parcel in parcels for attempt in parcel.attempts]
            await attempts.readdress(conn, addresses, at)
        await self._queue.push(mode, parcels)
        return len(missing)

    async def _mark_unknown_kinds(self, epoch: int) -> None:
        at = self._clock()
        if self._next_look is not None and at < self._next_look:
            return
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            await attempts.mark_unknown_kinds(conn, sorted(self._handlers))
        self._next_look = at + _LOOK_FOR_UNKNOWN_KINDS

    def _parcels(self, mode: Mode, ids: Sequence[UUID]) -> Iterator[Parcel]:
        size = self._parcel_sizes[mode]
        for start in range(0, len(ids), size):
            yield Parcel(new_id(), tuple(ids[start : start + size]))
