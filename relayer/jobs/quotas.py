"""Quotas: how many jobs a tenant may submit a day, and how much compute it may use a month.

PostgreSQL counts, in the transaction of what is counted. A process remembers a count for a moment, as long as the quota is
far: no submission then asks for it. Near its end every submission asks under a lock of the tenant.

No more is accepted than there is, whichever processes serve it, as long as they hold the tenant to its rates together.
While Redis is away each process holds it to its own: one process is exact even then, several need not be.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.jobs import quota_repository as repository
from relayer.jobs.errors import QuotaExceededError
from relayer.jobs.quota_repository import COMPUTE, JOBS, Standing, Used, day_of, month_after, month_of
from relayer.model.clock import Clock
from relayer.store import leases
from relayer.store.database import Database
from relayer.store.shared_look import SharedLook

LEASE = "quotas"

_MEMORY_S = 1.0


@dataclass
class _Memory:
    until: float
    day: date
    used: Used
    let_in: int = 0

    @property
    def left(self) -> int:
        return int(self.used.jobs_cap - self.used.jobs) - self.let_in


@dataclass(frozen=True)
class Allowance:
    """How many of the wanted jobs a tenant may submit, and why not all of them."""

    jobs: int
    exceeded: QuotaExceededError | None = None


class Quotas:
    """Says how many more jobs a tenant may submit in this period."""

    def __init__(self, db: Database, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._monotonic = monotonic
        self._memory: dict[UUID, _Memory] = {}
        self._look = SharedLook[UUID, _Memory]()
        self._forget_at = 0.0

    async def allow(self, tenant: UUID, wanted: int, at: datetime) -> Allowance | None:
        """Judge by what is remembered; None where a quota is so near that only `allow_exactly` can tell."""
        day, month, now = day_of(at), month_of(at), self._monotonic()
        memory = self._memory.get(tenant)
        if memory is None or now > memory.until or memory.day != day:
            memory = await self._look(tenant, lambda: self._remember(tenant, day, month))
        if (exceeded := _compute_exceeded(memory.used, at)) is not None:
            return Allowance(0, exceeded)
        if memory.left - wanted > memory.used.reach:
            memory.let_in += wanted
            return Allowance(wanted)
        return None

    async def allow_exactly(
        self, conn: AsyncConnection[TupleRow], tenant: UUID, wanted: int, at: datetime
    ) -> Allowance:
        """Judge in the transaction that submits, while nobody else submits for this tenant."""
        return _judge(await repository.used_exactly(conn, tenant, day_of(at), month_of(at)), wanted, at)

    async def _remember(self, tenant: UUID, day: date, month: date) -> _Memory:
        now = self._monotonic()
        used = await self._db.read(tenant, lambda conn: repository.used(conn, tenant, day, month))
        memory = self._memory[tenant] = _Memory(now + _MEMORY_S, day, used)
        self._forget_old(now)
        return memory

    def _forget_old(self, now: float) -> None:
        if now < self._forget_at:
            return
        self._forget_at = now + _MEMORY_S
        for tenant in [one for one, memory in self._memory.items() if now > memory.until]:
            del self._memory[tenant]


async def foresee(conn: AsyncConnection[TupleRow], tenant: UUID, wanted: int, at: datetime) -> Allowance:
    """Judge what is not to be submitted yet, without a lock."""
    return _judge(await repository.used(conn, tenant, day_of(at), month_of(at)), wanted, at)


@dataclass(frozen=True)
class CurrentUsage:
    """Where a tenant stands, and when its day and its month begin and end."""

    standing: Standing
    at: datetime
    day: tuple[datetime, datetime]
    month: tuple[datetime, datetime]


class UsageService:
    """Shows tenants what they use."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def current(self, tenant: UUID) -> CurrentUsage:
        """Give where a tenant stands now.

        Raises:
            UnavailableError: the database is away.

        """
        at = self._clock().astimezone(UTC)
        day, month = day_of(at), month_of(at)
        standing = await self._db.read(tenant, lambda conn: repository.standing(conn, tenant, day, month))
        return CurrentUsage(
            standing,
            at,
            (_start(day), _start(day + timedelta(days=1))),
            (_start(month), _start(month_after(month))),
        )


class QuotaWatch:
    """Tells tenants, once a period each, that four fifths or all of a quota is used."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def run_pass(self, epoch: int) -> int:
        """Write the news of thresholds that were passed; also of the periods that just ended. Give 0.

        Raises:
            LeaseLostError: another process leads; nothing was written.
            UnavailableError: the database is away.

        """
        at = self._clock().astimezone(UTC)
        day, month = day_of(at), month_of(at)
        days = [day, day - timedelta(days=1)]
        months = [month, month_of(_start(month) - timedelta(days=1))]
        async with self._db.transaction() as conn:
            await leases.require(conn, LEASE, epoch)
            await repository.tell_thresholds(conn, days, months, at)
        return 0


def _judge(used: Used, wanted: int, at: datetime) -> Allowance:
    if (exceeded := _compute_exceeded(used, at)) is not None:
        return Allowance(0, exceeded)
    allowed = max(0, min(wanted, int(used.jobs_cap - used.jobs)))
    if allowed == wanted:
        return Allowance(wanted)
    resets = _start(day_of(at) + timedelta(days=1))
    return Allowance(allowed, QuotaExceededError(JOBS, used.jobs, Decimal(used.jobs_cap), resets, at))


def _compute_exceeded(used: Used, at: datetime) -> QuotaExceededError | None:
    if used.compute < used.compute_cap:
        return None
    resets = _start(month_after(month_of(at)))
    return QuotaExceededError(COMPUTE, used.compute, used.compute_cap, resets, at)


def _start(day: date) -> datetime:
    return datetime.combine(day, time_of_day(), UTC)
