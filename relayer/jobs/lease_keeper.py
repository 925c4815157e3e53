"""Renews the leases of running attempts from a thread of its own, so that no handler can hold it up.

Another thread watches over time limits and leases that ran out, so that a database that hangs cannot hold that up.
"""

import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import psycopg

from relayer.jobs.attempt_repository import CHECK, RENEW
from relayer.jobs.execution import Outcome, Result
from relayer.jobs.failure import Failure, Stop
from relayer.jobs.hold import Hold
from relayer.jobs.records import OpenAttempt
from relayer.settings import DatabaseSettings, WorkerSettings

GiveUp = Callable[[Sequence[Result]], None]
Connection = psycopg.Connection[tuple[Any, ...]]


class LeaseKeeper:
    """Holds the leases of this process; its threads and connection begin with the first one.

    A lease that could not be renewed in time counts as lost, because somebody else may have been given the job.

    Args:
        database: where the attempts are.
        settings: how long a lease is, how often it is renewed and looked at.
        give_up: called in a thread when a handler did not let itself be ended; gets how each attempt of this
            process is to end. It ends the process.
        beat: called in a thread at every look, as a sign of life.

    """

    def __init__(
        self,
        database: DatabaseSettings,
        settings: WorkerSettings,
        give_up: GiveUp,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._lease_s = settings.lease.total_seconds()
        self._give_up = give_up
        self._beat = beat
        self._holds: dict[UUID, Hold] = {}
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()
        self._is_draining = False
        self._connection: Connection | None = None
        self._renewed = float("-inf")

    def hold(self, attempt: OpenAttempt, opened: float) -> Hold:
        """Renew an attempt's lease from now on.

        Args:
            attempt: it was opened just now.
            opened: a monotonic time before that, from which its lease counts.

        """
        hold = Hold(attempt, opened + self._lease_s, self._settings.cancel_grace.total_seconds())
        with self._lock:
            self._holds[attempt.id] = hold
            if not self._threads:
                self._threads = [
                    threading.Thread(target=self._keep, args=[look], name=look.__name__, daemon=True)
                    for look in (self._renew, self._watch)
                ]
                for thread in self._threads:
                    thread.start()
        if self._is_draining:
            hold.end(Stop.DRAINED)
        return hold

    def is_held(self, attempt: OpenAttempt) -> bool:
        """Whether the lease of an attempt is still ours, as far as this process knows."""
        with self._lock:
            hold = self._holds.get(attempt.id)
        return hold is not None and hold.stop is not Stop.LOST

    def release(self, attempt: OpenAttempt) -> None:
        """Stop renewing."""
        with self._lock:
            hold = self._holds.pop(attempt.id, None)
        if hold is not None:
            hold.settle()

    def drain(self) -> None:
        """End every attempt of this process, and those that begin later: they are handed back."""
        self._is_draining = True
        for hold in self._all():
            hold.end(Stop.DRAINED)

    def close(self) -> None:
        """End the threads and the connection."""
        self._closing.set()
        for thread in self._threads:
            thread.join()
        self._disconnect()

    def _all(self) -> list[Hold]:
        with self._lock:
            return list(self._holds.values())

    def _keep(self, look: Callable[[], None]) -> None:
        """Look again and again; what goes wrong is said, because every lease of this process hangs on its threads."""
        while not self._closing.wait(self._settings.check_every.total_seconds()):
            try:
                look()
            except Exception:  # noqa: BLE001 - whatever it is, the next look may do
                traceback.print_exc()

    def _renew(self) -> None:
        self._look_after([hold for hold in self._all() if hold.stop is not Stop.LOST])

    def _watch(self) -> None:
        self._beat()
        now = time.monotonic()
        for hold in self._all():
            if hold.until < now and hold.stop is not Stop.LOST:
                hold.end(Stop.LOST)
        stuck = [hold for hold in self._all() if hold.is_stuck(now)]
        if stuck:
            self._end_process(stuck)

    def _look_after(self, holds: list[Hold]) -> None:
        """Renew the leases, or only see whether they still hold and whether somebody asked for a cancellation."""
        if not holds:
            return
        asked = time.monotonic()
        # A lease that began after the last round is a full one; the oldest decides.
        is_due = asked - self._renewed >= self._settings.renew_every.total_seconds()
        try:
            held = self._ask(RENEW if is_due else CHECK, holds)
        except psycopg.Error:
            self._disconnect()
            return
        if is_due:
            self._renewed = asked
        for hold in holds:
            if hold.attempt.id not in held:
                hold.end(Stop.LOST)
                continue
            is_cancelled, is_renewed = held[hold.attempt.id]
            if is_renewed:
                hold.until = asked + self._lease_s
            if is_cancelled:
                hold.ask_to_stop(Stop.CANCELLED)

    def _ask(self, query: str, holds: list[Hold]) -> dict[UUID, tuple[bool, bool]]:
        """Give the attempts that are still ours: whether their jobs are to be cancelled, and their leases renewed."""
        if self._connection is None:
            self._connection = self._connect()
        rows = self._connection.execute(
            query.encode(),
            {
                "ids": [hold.attempt.id for hold in holds],
                "tokens": [hold.attempt.fencing_token for hold in holds],
                "progress": [hold.progress for hold in holds],
                "lease": self._settings.lease,
            },
        ).fetchall()
        return {attempt: (is_cancelled, is_renewed) for attempt, is_cancelled, is_renewed in rows}

    def _connect(self) -> Connection:
        return psycopg.connect(
            self._database.url.get_secret_value(),
            autocommit=True,
            connect_timeout=max(1, round(self._database.connect_timeout.total_seconds())),
            # A server that vanished without a word is noticed while there is still time to say so.
            tcp_user_timeout=round(self._lease_s * 500),
        )

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _end_process(self, stuck: list[Hold]) -> None:
        """Give up a process in which a handler blocks the loop or ignores its end: nothing else would stop it."""
        kinds = ", ".join(sorted({hold.attempt.kind for hold in stuck}))
        sys.stderr.write(
            f"a handler did not end when it had to ({kinds}); its worker gives up and starts anew\n"
        )
        sys.stderr.flush()
        self._give_up(
            [Result(hold.attempt, _forced(hold, stuck)) for hold in self._all() if not hold.is_lost]
        )


def _forced(hold: Hold, stuck: list[Hold]) -> Outcome:
    """Say how an attempt ends with its process; the neighbours of a stuck one get another turn."""
    if hold.stop is not None:
        return hold.stop
    if hold in stuck:
        return Failure.of_time(hold.attempt.run_limit, is_total=hold.attempt.is_total)
    return Stop.DRAINED
