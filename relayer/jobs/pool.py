"""What `jobseal worker` runs: a parent that starts RQ worker processes and starts them again when they end."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import psycopg

from relayer.jobs import worker_repository
from relayer.jobs.handlers.base import Mode
from relayer.jobs.presence import Presence
from relayer.jobs.queue import JobQueue
from relayer.jobs.scratch import PoolScratch
from relayer.jobs.tied import end_descendants, hide_memory, take_in_orphans
from relayer.model.clock import utc_now
from relayer.model.errors import UnavailableError
from relayer.settings import DatabaseSettings, RedisSettings, WorkerSettings
from relayer.store.connecting import OF_ANOTHER_SCHEMA, no_connection, other_schema
from relayer.store.database import server_address

_TICK_S = 0.2
_NOT_READY_WAIT_S = 1.0
_READINESS_EVERY_S = 5.0
_SHORTEST_RESTART_WAIT_S = 1.0
_LONGEST_RESTART_WAIT_S = 30.0
# A worker that lived as long is started again without a longer pause than the first.
_STEADY_S = 60.0
# How long handing back may take after the time of grace.
_HAND_BACK_S = 10.0


def run_pool(settings: WorkerSettings) -> None:
    """Keep the workers of each mode running until SIGTERM or SIGINT.

    Where PostgreSQL or Redis does not answer, it says so once and goes on when they return. Asked to stop, the
    workers take no more work, finish what they can within the time of grace, and hand the rest back.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    hide_memory()
    take_in_orphans()
    _Pool(settings).run(stopping)


class _Pool:
    def __init__(self, settings: WorkerSettings) -> None:
        self._grace_s = settings.drain_grace.total_seconds()
        self._scratch = PoolScratch()
        modes = [Mode.INLINE] * settings.inline + [Mode.ISOLATED] * settings.isolated
        self._slots = [_Slot(mode, self._scratch.of_worker(number)) for number, mode in enumerate(modes)]
        database = DatabaseSettings()
        self._readiness = _Readiness(database, RedisSettings())
        self._presence = Presence(
            database,
            f"{socket.gethostname()}/{os.getpid()}",
            every=settings.renew_every,
            lifetime=settings.lease,
            clock=utc_now,
        )

    def run(self, stopping: threading.Event) -> None:
        try:
            while not stopping.wait(_TICK_S):
                self._turn(stopping)
        finally:
            self._stop()

    def _turn(self, stopping: threading.Event) -> None:
        """Start what is due, and say what lives."""
        if any(slot.ended() for slot in self._slots):
            # What a killed worker left: its horse is tied to it, what a handler started may not be.
            end_descendants(keep={slot.pid for slot in self._slots if slot.pid is not None})
        due = [slot for slot in self._slots if slot.is_due()]
        is_ready = self._readiness.check(is_urgent=bool(due))
        if due and is_ready:
            for slot in due:
                slot.start()
        elif not is_ready:
            stopping.wait(_NOT_READY_WAIT_S)
        if is_ready:
            self._presence.announce(self._processes())

    def _processes(self) -> Mapping[Mode, int]:
        return Counter(slot.mode for slot in self._slots if slot.pid is not None)

    def _stop(self) -> None:
        running = [slot.process for slot in self._slots if slot.process is not None]
        for process in running:
            process.terminate()
        self._presence.withdraw()
        deadline = time.monotonic() + self._grace_s + _HAND_BACK_S
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        end_descendants()
        self._scratch.remove()


class _Slot:
    """One worker's place."""

    def __init__(self, mode: Mode, scratch: Path) -> None:
        self.mode = mode
        self.process: subprocess.Popen[bytes] | None = None
        self._scratch = scratch
        self._started = float("-inf")
        self._wait_s = _SHORTEST_RESTART_WAIT_S
        self._has_ended = False

    @property
    def pid(self) -> int | None:
        """The worker's process; None where none runs."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def ended(self) -> bool:
        """Whether the worker has ended since this was asked last; says so."""
        if self.process is None or self._has_ended or self.process.poll() is None:
            return False
        self._has_ended = True
        lived_s = time.monotonic() - self._started
        self._wait_s = (
            _SHORTEST_RESTART_WAIT_S
            if lived_s >= _STEADY_S
            else min(self._wait_s * 2, _LONGEST_RESTART_WAIT_S)
        )
        _say(f"a worker ({self.mode}) ended with status {self.process.returncode}; starting it again")
        return True

    def is_due(self) -> bool:
        """Whether no worker runs here and the last start was a while ago: longer, the more often it ended soon."""
        return self.pid is None and time.monotonic() - self._started >= self._wait_s

    def start(self) -> None:
        self._started, self._has_ended = time.monotonic(), False
        # A session of its own, so that Ctrl-C reaches the parent alone, which stops the workers in order.
        self.process = subprocess.Popen(
            [
                sys.executable,
                *("-m", "relayer.jobs.rq_worker", self.mode, str(os.getpid()), str(self._scratch)),
            ],
            start_new_session=True,
        )


class _Readiness:
    """Whether the stores answer; says it when the answer changes."""

    def __init__(self, database: DatabaseSettings, redis: RedisSettings) -> None:
        self._database = database
        self._queue = JobQueue(redis)
        self._said: str | None = None
        self._next = float("-inf")

    def check(self, *, is_urgent: bool) -> bool:
        """Ask both stores, where somebody must know or they were not asked just now; give the last answer."""
        if not is_urgent and self._said is None and time.monotonic() < self._next:
            return True
        reason = self._reason()
        self._next = time.monotonic() + _READINESS_EVERY_S
        if reason is not None and reason != self._said:
            _say(f"not ready: {reason}")
        elif reason is None and self._said is not None:
            _say("ready")
        self._said = reason
        return reason is None

    def _reason(self) -> str | None:
        url = self._database.url.get_secret_value()
        try:
            with psycopg.connect(url, connect_timeout=2) as connection:
                worker_repository.look(connection)
            asyncio.run(self._queue.ping())
        except psycopg.OperationalError as error:
            return no_connection(server_address(url), error)
        except OF_ANOTHER_SCHEMA as error:
            return other_schema(server_address(url), error)
        except UnavailableError as error:
            return str(error)
        return None


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
