"""Runs the loops of the relayer: each is one function that does one pass, led by a lease in PostgreSQL."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog
from prometheus_client import CollectorRegistry, Gauge
from psycopg.errors import InsufficientPrivilege

from relayer.model.errors import JobsealError, UnavailableError
from relayer.store import leases
from relayer.store.database import Database

# A lease is renewed between passes, when a part of it is over.
_RENEW_AFTER = 4
_FOLLOWER_WAIT_S = 1.0
_UNAVAILABLE_WAIT_S = 1.0
_FAILURE_WAIT_S = 5.0
# So many passes of a paced loop may follow each other at once.
_BURST = 8

Pass = Callable[[int], Awaitable[int]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Loop:
    """A loop: `run_pass` takes the epoch of the lease and gives how much it did; after 0 it rests.

    `lease` is longer than a pass takes; a leader that dies is followed when it is over. `bell` ends a rest early; it is
    cleared before a pass, so that no ring is missed. Of the passes that follow without a rest one begins every `pace` in the
    long run: a lone ring is answered at once, and many rings share a pass.
    """

    name: str
    run_pass: Pass
    rest: timedelta
    lease: timedelta = timedelta(seconds=30)
    bell: asyncio.Event | None = None
    pace: timedelta = timedelta(0)


class Pace:
    """Spaces the beginnings of passes, in seconds of one clock: the generic cell rate algorithm (ITU-T I.371)."""

    def __init__(self, every: timedelta, burst: int = _BURST) -> None:
        self._every = every.total_seconds()
        self._tolerance = self._every * (burst - 1)
        self._due = 0.0

    def wait(self, now: float) -> float:
        """How long the next pass has to wait."""
        return max(0.0, self._due - self._tolerance - now)

    def begin(self, now: float) -> None:
        """A pass begins."""
        self._due = max(self._due, now) + self._every


class Leader:
    """One process's try to lead a loop for as long as the process lives."""

    def __init__(self, loop: Loop, db: Database, owner: str, stopping: asyncio.Event, epochs: Gauge) -> None:
        self._shown = epochs.labels(loop.name)
        self._loop = loop
        self._db = db
        self._owner = owner
        self._stopping = stopping
        self._epoch: int | None = None
        self._renewed = 0.0
        self._trouble: str | None = None
        self._pace = Pace(loop.pace)

    async def lead(self) -> None:
        """Run passes until asked to stop; whatever goes wrong is said once and tried again."""
        while not self._stopping.is_set():
            seconds = await self._step()
            if not await self._pause(seconds, self._loop.bell if self._trouble is None else None):
                await self._keep_pace()
        # A lease that cannot be given back ends by itself.
        with suppress(JobsealError, InsufficientPrivilege):
            async with self._db.transaction() as conn:
                await leases.release(conn, self._loop.name, self._owner)

    async def _step(self) -> float:
        """Do one pass if this process leads; give how many seconds to rest."""
        try:
            await self._renew()
            if self._epoch is None:
                return _FOLLOWER_WAIT_S
            if self._loop.bell is not None:
                self._loop.bell.clear()
            done = await self._loop.run_pass(self._epoch)
        except leases.LeaseLostError as error:
            self._epoch = None
            self._shown.set(0)
            self._say("lease_lost", str(error))
            return _FOLLOWER_WAIT_S
        except UnavailableError as error:
            self._say("not_ready", str(error))
            return _UNAVAILABLE_WAIT_S
        except (JobsealError, InsufficientPrivilege) as error:
            self._say("stopped_by", str(error))
            return _FAILURE_WAIT_S
        except Exception as error:  # noqa: BLE001 - a loop outlives any one pass, and says what broke it
            if self._is_new(f"{type(error).__name__}: {error}"):
                _log.exception("pass_failed", loop=self._loop.name)
            return _FAILURE_WAIT_S
        if self._trouble is not None:
            self._trouble = None
            _log.info("ready_again", loop=self._loop.name)
        return 0.0 if done else self._loop.rest.total_seconds()

    async def _renew(self) -> None:
        lease = self._loop.lease
        if (
            self._epoch is not None
            and time.monotonic() - self._renewed < lease.total_seconds() / _RENEW_AFTER
        ):
            return
        started = time.monotonic()
        async with self._db.transaction() as conn:
            epoch = await leases.acquire(conn, self._loop.name, self._owner, lease)
        if epoch != self._epoch:
            _log.info("leads" if epoch else "follows", loop=self._loop.name, epoch=epoch)
        self._epoch, self._renewed = epoch, started
        self._shown.set(epoch or 0)

    async def _pause(self, seconds: float, bell: asyncio.Event | None) -> bool:
        """Rest until asked to stop or rung for; whether the whole rest was had."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._stopping, bell) if event is not None]
        try:
            rung, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return seconds > 0 and not rung

    async def _keep_pace(self) -> None:
        """Wait for the turn of a pass that comes without a rest."""
        if wait := self._pace.wait(time.monotonic()):
            await self._pause(wait, None)
        self._pace.begin(time.monotonic())

    def _say(self, event: str, reason: str) -> None:
        """Log a trouble when it begins, not on every pass."""
        if self._is_new(reason):
            _log.warning(event, loop=self._loop.name, reason=reason)

    def _is_new(self, trouble: str) -> bool:
        """Whether a trouble is another than the last; from now on it is the last, and no bell hurries the loop."""
        before, self._trouble = self._trouble, trouble
        return trouble != before


def epochs_in(registry: CollectorRegistry) -> Gauge:
    """Make the metric that shows what a process leads."""
    return Gauge(
        "jobseal_loop_epoch",
        "Epoch of the lease under which this process leads a loop; 0 while it follows",
        ["loop"],
        registry=registry,
    )


async def run(
    loops: Sequence[Loop], db: Database, owner: str, stopping: asyncio.Event, metrics: CollectorRegistry
) -> None:
    """Lead every loop until asked to stop."""
    epochs = epochs_in(metrics)
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(Leader(loop, db, owner, stopping, epochs).lead(), name=loop.name)
