"""What `jobseal worker` runs: a parent that starts RQ worker processes and starts them again when they end."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import psycopg

from relayer.jobs.handlers.base import Mode
from relayer.jobs.presence import Presence
from relayer.jobs.queue import JobQueue
from relayer.model.clock import utc_now
from relayer.model.errors import UnavailableError
from relayer.settings import DatabaseSettings, RedisSettings, WorkerSettings
from relayer.store.database import server_address

_TICK_S = 0.2
_NOT_READY_WAIT_S = 1.0
_RESTART_WAIT_S = 1.0
# How long handing back may take after the time of grace.
_HAND_BACK_S = 5.0


def run_pool(settings: WorkerSettings) -> None:
    """Keep the workers of each mode running until SIGTERM or SIGINT.

    Where PostgreSQL or Redis does not answer, it says so once and goes on when they return. Asked to stop, the
    workers take no more work, finish what they can within the time of grace, and hand the rest back.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    processes = {Mode.INLINE: settings.inline, Mode.ISOLATED: settings.isolated}
    slots = [_Slot(mode) for mode, count in processes.items() for _ in range(count)]
    database = DatabaseSettings()
    readiness = _Readiness(database, RedisSettings())
    presence = Presence(database, f"{socket.gethostname()}/{os.getpid()}", processes, utc_now)
    try:
        while not stopping.wait(_TICK_S):
            idle = [slot for slot in slots if slot.is_due()]
            if not idle:
                presence.announce()
                continue
            if not readiness.check():
                stopping.wait(_NOT_READY_WAIT_S)
                continue
            for slot in idle:
                slot.start()
    finally:
        presence.withdraw()
        running = [slot.process for slot in slots if slot.process is not None]
        _stop(running, settings.drain_grace.total_seconds() + _HAND_BACK_S)


@dataclass
class _Slot:
    """One worker's place."""

    mode: Mode
    process: subprocess.Popen[bytes] | None = None
    started: float = field(default=float("-inf"))

    def is_due(self) -> bool:
        """Whether no worker runs here and the last start was not just now."""
        ended = self.process is None or self.process.poll() is not None
        return ended and time.monotonic() - self.started >= _RESTART_WAIT_S

    def start(self) -> None:
        if self.process is not None:
            _say(f"a worker ({self.mode}) ended with status {self.process.returncode}; starting it again")
        self.started = time.monotonic()
        # A session of its own, so that Ctrl-C reaches the parent alone, which stops the workers in order.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "relayer.jobs.rq_worker", self.mode, str(os.getpid())],
            start_new_session=True,
        )


class _Readiness:
    """Whether the stores answer; says it when the answer changes."""

    def __init__(self, database: DatabaseSettings, redis: RedisSettings) -> None:
        self._database = database
        self._queue = JobQueue(redis)
        self._said: str | None = None

    def check(self) -> bool:
        """Ask both stores."""
        reason = self._reason()
        if reason is not None and reason != self._said:
            _say(f"not ready: {reason}")
        elif reason is None and self._said is not None:
            _say("ready")
        self._said = reason
        return reason is None

    def _reason(self) -> str | None:
        url = self._database.url.get_secret_value()
        try:
            psycopg.connect(url, connect_timeout=2).close()
            asyncio.run(self._queue.ping())
        except psycopg.OperationalError:
            return f"PostgreSQL at {server_address(url)} does not answer"
        except UnavailableError as error:
            return str(error)
        return None


def _stop(processes: list[subprocess.Popen[bytes]], limit_s: float) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + limit_s
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
