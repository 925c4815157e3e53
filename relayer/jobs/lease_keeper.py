"""Renews the leases of running attempts from a thread of its own, so that no handler can hold it up."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

from relayer.jobs.attempt_repository import CHECK, RENEW
from relayer.jobs.failure import Stop
from relayer.jobs.records import OpenAttempt
from relayer.settings import DatabaseSettings, WorkerSettings


class Hold:
    """One attempt as its worker holds it: the lease, what it reported, and how it is asked to stop.

    Its methods belong to the worker's loop; `progress` and `until` are read by the keeper's thread.
    """

    def __init__(self, attempt: OpenAttempt, until: float, grace: timedelta) -> None:
        self.attempt = attempt
        self.until = until
        self.progress: dict[str, Any] | None = None
        self.stop: Stop | None = None
        """Why the attempt should come to an end; the handler may still come to one of its own."""
        self.on_stop: Callable[[], None] | None = None
        """Called once when the attempt should come to an end."""
        self.loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._grace = grace

    def ask_to_stop(self, why: Stop) -> None:
        """Let the handler come to an end by itself for the time of grace, then end it."""
        if self.stop is not None:
            return
        self.stop = why
        if self.on_stop is not None:
            self.on_stop()
        self.loop.call_later(self._grace.total_seconds(), self.end, why)

    def end(self, why: Stop) -> None:
        """Stop the attempt now."""
        self.stop = why
        if self._task is not None:
            self._task.cancel()

    def release(self) -> None:
        """The attempt has ended; nothing is left to stop."""
        self._task = None


class LeaseKeeper:
    """Holds the leases of this process; its thread and connection begin with the first one.

    A lease that could not be renewed in time counts as lost, because somebody else may have been given the job.
    """

    def __init__(self, database: DatabaseSettings, settings: WorkerSettings) -> None:
        self._database = database
        self._settings = settings
        self._lease_s = settings.lease.total_seconds()
        self._holds: dict[UUID, Hold] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._is_draining = False

    def hold(self, attempt: OpenAttempt) -> Hold:
        """Renew an attempt's lease from now on; the current task is cancelled when the attempt must end."""
        hold = Hold(attempt, time.monotonic() + self._lease_s, self._settings.cancel_grace)
        with self._lock:
            self._holds[attempt.id] = hold
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_for_ever, name="leases", daemon=True)
                self._thread.start()
        if self._is_draining:
            hold.end(Stop.DRAINED)
        return hold

    def release(self, attempt: OpenAttempt) -> None:
        """Stop renewing."""
        with self._lock:
            hold = self._holds.pop(attempt.id, None)
        if hold is not None:
            hold.release()

    def drain(self) -> None:
        """End every attempt of this process, and those that begin later: they are handed back."""
        self._is_draining = True
        with self._lock:
            holds = list(self._holds.values())
        for hold in holds:
            hold.loop.call_soon_threadsafe(hold.end, Stop.DRAINED)

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def _renew_for_ever(self) -> None:
        connection: psycopg.Connection[tuple[Any, ...]] | None = None
        renewed = time.monotonic()
        while not self._closing.wait(self._settings.check_every.total_seconds()):
            with self._lock:
                holds = list(self._holds.values())
            if not holds:
                continue
            asked = time.monotonic()
            # A lease that began after the last round is a full one; the oldest decides.
            is_due = asked - renewed >= self._settings.renew_every.total_seconds()
            try:
                if connection is None or connection.closed:
                    connection = self._connect()
                held = self._ask(connection, RENEW if is_due else CHECK, holds)
            except psycopg.OperationalError:
                connection = None
                self._lose([hold for hold in holds if hold.until < time.monotonic()])
                continue
            if is_due:
                renewed = asked
                for hold in holds:
                    hold.until = asked + self._lease_s
            self._lose([hold for hold in holds if hold.attempt.id not in held])
            for hold in holds:
                if held.get(hold.attempt.id):
                    hold.loop.call_soon_threadsafe(hold.ask_to_stop, Stop.CANCELLED)
        if connection is not None:
            connection.close()

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            self._database.url.get_secret_value(),
            autocommit=True,
            connect_timeout=max(1, round(self._database.connect_timeout.total_seconds())),
        )

    def _ask(
        self, connection: psycopg.Connection[tuple[Any, ...]], query: str, holds: list[Hold]
    ) -> dict[UUID, bool]:
        """Give the attempts that are still ours, and whether their jobs are to be cancelled."""
        rows = connection.execute(
            query.encode(),
            {
                "ids": [hold.attempt.id for hold in holds],
                "tokens": [hold.attempt.fencing_token for hold in holds],
                "progress": [hold.progress and json.dumps(hold.progress) for hold in holds],
                "lease": self._settings.lease,
            },
        ).fetchall()
        return dict(rows)

    def _lose(self, holds: list[Hold]) -> None:
        for hold in holds:
            with self._lock:
                # An attempt that was finished meanwhile is not lost.
                if self._holds.pop(hold.attempt.id, None) is None:
                    continue
            hold.loop.call_soon_threadsafe(hold.end, Stop.LOST)
