"""Renews the leases of running attempts from a thread of its own, so that no handler can hold it up."""

import asyncio
import json
import threading
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

from relayer.jobs.attempt_repository import RENEW
from relayer.jobs.records import OpenAttempt
from relayer.settings import DatabaseSettings


class Hold:
    """One attempt's lease as its worker sees it."""

    def __init__(self, attempt: OpenAttempt, until: float, task: asyncio.Task[Any]) -> None:
        self.attempt = attempt
        self.until = until
        self.task = task
        self.progress: dict[str, Any] | None = None
        self.lost = threading.Event()


class LeaseKeeper:
    """Holds the leases of this process; its thread and connection begin with the first one.

    A lease that could not be renewed in time counts as lost, because somebody else may have been given the job.
    """

    def __init__(self, settings: DatabaseSettings, lease: timedelta, every: timedelta) -> None:
        self._settings = settings
        self._lease = lease
        self._every = every
        self._holds: dict[UUID, Hold] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def hold(self, attempt: OpenAttempt) -> Hold:
        """Renew an attempt's lease from now on; the current task is cancelled if that fails."""
        task = asyncio.current_task()
        assert task is not None
        hold = Hold(attempt, time.monotonic() + self._lease.total_seconds(), task)
        with self._lock:
            self._holds[attempt.id] = hold
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_for_ever, name="leases", daemon=True)
                self._thread.start()
        return hold

    def release(self, attempt: OpenAttempt) -> None:
        """Stop renewing."""
        with self._lock:
            self._holds.pop(attempt.id, None)

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def _renew_for_ever(self) -> None:
        connection: psycopg.Connection[tuple[Any, ...]] | None = None
        while not self._closing.wait(self._every.total_seconds()):
            with self._lock:
                holds = list(self._holds.values())
            if not holds:
                continue
            asked = time.monotonic()
            try:
                if connection is None or connection.closed:
                    connection = self._connect()
                renewed = self._renew(connection, holds)
            except psycopg.OperationalError:
                connection = None
                lost = [hold for hold in holds if hold.until < time.monotonic()]
            else:
                for hold in holds:
                    if hold.attempt.id in renewed:
                        hold.until = asked + self._lease.total_seconds()
                lost = [hold for hold in holds if hold.attempt.id not in renewed]
            for hold in lost:
                self._lose(hold)
        if connection is not None:
            connection.close()

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            self._settings.url.get_secret_value(),
            autocommit=True,
            connect_timeout=max(1, round(self._settings.connect_timeout.total_seconds())),
        )

    def _renew(self, connection: psycopg.Connection[tuple[Any, ...]], holds: list[Hold]) -> set[UUID]:
        rows = connection.execute(
            RENEW,
            {
                "ids": [hold.attempt.id for hold in holds],
                "tokens": [hold.attempt.fencing_token for hold in holds],
                "progress": [hold.progress and json.dumps(hold.progress) for hold in holds],
                "lease": self._lease,
            },
        ).fetchall()
        return {row[0] for row in rows}

    def _lose(self, hold: Hold) -> None:
        with self._lock:
            # An attempt that was finished meanwhile is not lost.
            if self._holds.pop(hold.attempt.id, None) is None:
                return
        hold.lost.set()
        hold.task.get_loop().call_soon_threadsafe(hold.task.cancel)
