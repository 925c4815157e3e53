"""The life of jobs as a state machine: two dispatchers, three workers, kills, wipes and cancellations, in any order.

Everything is real but the handlers: PostgreSQL, Valkey with RQ's queues, and the parts of the engine, called step by
step, so that Hypothesis can put any step between any two others. After every step the rows must tell a sound story;
in the end every job must have come to an end.
"""

from collections.abc import Coroutine
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
import redis
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pydantic import SecretStr
from rq import Queue
from rq.serializers import JSONSerializer

from relayer.jobs import canceller, dispatcher, reaper, redriver
from relayer.jobs.canceller import Canceller
from relayer.jobs.dead_letter_repository import DeadLetterFilter
from relayer.jobs.dead_letters import DeadLetterService
from relayer.jobs.dispatcher import Dispatcher
from relayer.jobs.errors import JobEndedError
from relayer.jobs.execution import Execution, Outcome, Result
from relayer.jobs.failure import Failure, Stop
from relayer.jobs.handlers.base import Mode
from relayer.jobs.handlers.registry import Handlers
from relayer.jobs.intake import Submitted
from relayer.jobs.queue import JobQueue, queue_name
from relayer.jobs.reaper import Reaper
from relayer.jobs.records import OpenAttempt, Priority
from relayer.jobs.redriver import Redriver
from relayer.jobs.service import JobService
from relayer.jobs.submission import Options, Submission
from relayer.jobs.transition import JobOutput
from relayer.model.clock import utc_now
from relayer.model.ids import new_id
from relayer.model.lifecycle import JobState, may_move
from relayer.settings import DatabaseSettings, DispatcherSettings, ReaperSettings, RedisSettings
from relayer.store import leases, registries
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database
from relayer.store.runner import Runner

T = TypeVar("T")
CAP = 3
LEASE = timedelta(minutes=5)
LOOPS = (dispatcher.LEASE, reaper.LEASE, canceller.LEASE, redriver.LEASE)
OUTCOMES = st.sampled_from(
    [
        JobOutput(bytes(32), 2, "application/json", b"{}"),
        JobOutput(bytes(32), 2, "application/json", b"{}"),
        Failure("flaky", "it may pass", retryable=True),
        Failure("flaky", "later", retryable=True, retry_after=timedelta(hours=1)),
        Failure("broken", "it will not pass", retryable=False),
        Failure("refused", "not here", retryable=False, rejected=True),
        Stop.CANCELLED,
        Stop.DRAINED,
    ]
)
WORKERS = st.integers(0, 2)
MODES = st.sampled_from(list(Mode))


class Platform:
    """The parts of the engine and one event loop for them."""

    def __init__(self, urls: Any, valkey_url: str, handlers: Handlers, blobs: Path) -> None:
        self.ahead = timedelta(0)
        self.runner = Runner()
        self.redis = redis.Redis.from_url(valkey_url)
        self.queues = {
            mode: Queue(queue_name(mode), connection=self.redis, serializer=JSONSerializer) for mode in Mode
        }
        self.handlers = handlers
        self.store = LocalBlobStore(blobs)
        self.queue = JobQueue(RedisSettings(url=SecretStr(valkey_url)))
        self.db = Database(DatabaseSettings(url=SecretStr(urls.relayer), pool_size=4))
        self.api_db = Database(DatabaseSettings(url=SecretStr(urls.api), pool_size=4))
        self.owner_db = Database(DatabaseSettings(url=SecretStr(urls.owner), pool_size=2))
        self.run(self._open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def clock(self) -> datetime:
        return utc_now() + self.ahead

    async def _open(self) -> None:
        for db in (self.db, self.api_db, self.owner_db):
            await db.open()
        async with self.owner_db.transaction() as conn:
            self.registry = await registries.register(conn, 31337, bytes(20), 0)

    def close(self) -> None:
        for db in (self.db, self.api_db, self.owner_db):
            self.run(db.close())
        self.runner.close()
        self.redis.close()

    async def rows(self, query: str, *values: Any) -> list[Any]:
        async with self.owner_db.transaction() as conn:
            cursor = await conn.execute(query.encode(), values)
            return await cursor.fetchall() if cursor.description else []


class Life(RuleBasedStateMachine):
    """One run; `held` are the attempts that workers run, which they may have lost without knowing."""

    platform: Platform
    held = Bundle("held")
    jobs = Bundle("jobs")

    @initialize()
    def begin(self) -> None:
        platform = self.platform
        platform.redis.flushall()
        platform.ahead = timedelta(0)
        self.tenants = [new_id(), new_id()]
        self.known: set[UUID] = set()

        async def registry() -> registries.RegistryRow:
            return platform.registry

        db, clock = platform.db, platform.clock
        self.service = JobService(platform.api_db, registry, platform.handlers, platform.store, clock)
        self.letters = DeadLetterService(platform.api_db, clock)
        settings_ = DispatcherSettings(inline_window=6, inline_chunk=3, isolated_reserve=3)
        self.dispatchers = [
            Dispatcher(db, platform.queue, platform.handlers, settings_, clock) for _ in range(2)
        ]
        self.reaper = Reaper(db, ReaperSettings(), clock)
        self.canceller = Canceller(db, platform.queue, ReaperSettings(), clock)
        self.redriver = Redriver(db, clock)
        self.workers = [
            Execution(db, f"worker-{number}", LEASE, clock, platform.store) for number in range(3)
        ]
        platform.run(self._add_tenants())

    async def _add_tenants(self) -> None:
        for tenant in self.tenants:
            await self.platform.rows(
                "INSERT INTO tenants (id, name, created_at, running_cap) VALUES (%s, %s, now(), %s)",
                tenant,
                f"t-{tenant}",
                CAP,
            )

    # --- what tenants do --------------------------------------------------------------------------

    @rule(
        target=jobs,
        tenant=st.integers(0, 1),
        count=st.integers(1, 4),
        mode=MODES,
        priority=st.sampled_from(list(Priority)),
        later=st.sampled_from([0, 0, 0, 2]),
        queue_hours=st.sampled_from([None, None, 3]),
    )
    def submit(
        self, tenant: int, count: int, mode: Mode, priority: Priority, later: int, queue_hours: int | None
    ) -> Any:
        kind = {Mode.INLINE: "test.nap", Mode.ISOLATED: "test.sleep"}[mode]
        options = Options(
            priority=priority,
            run_at=self.platform.clock() + timedelta(hours=later) if later else None,
            queue_limit=None if queue_hours is None else timedelta(hours=queue_hours),
        )
        one = Submission(kind, {"seconds": 0.0}, {}, None, bytes(32), options)
        made = self.platform.run(self.service.submit_many(self.tenants[tenant], [one] * count))
        jobs = [each.job.id for each in made if isinstance(each, Submitted)]
        assert len(jobs) == count
        self.known.update(jobs)
        return multiple(*((self.tenants[tenant], job) for job in jobs))

    @rule(job=jobs)
    def cancel(self, job: tuple[UUID, UUID]) -> None:
        before = self.platform.run(self.service.get(*job))
        assert before is not None
        if before.state in {JobState.CREATED, JobState.PROCESSING, JobState.CANCELLED}:
            seen = self.platform.run(self.service.cancel(*job))
            assert seen is not None
            assert seen.cancel_requested_at is not None or before.state is JobState.CANCELLED
        else:
            with pytest.raises(JobEndedError, match=before.state):
                self.platform.run(self.service.cancel(*job))

    @rule(tenant=st.integers(0, 1), code=st.sampled_from([None, "broken", "worker_lost"]))
    def redrive(self, tenant: int, code: str | None) -> None:
        wanted = DeadLetterFilter(self.tenants[tenant], error_code=code)
        asked = self.letters.redrive(
            wanted, actor="test", rate=100, idempotency_key=None, fingerprint=bytes(32)
        )
        self.platform.run(asked)

    # --- what the loops do ------------------------------------------------------------------------

    @rule(which=st.integers(0, 1))
    def dispatch(self, which: int) -> None:
        self._lead(dispatcher.LEASE, str(which), self.dispatchers[which].run_pass)

    @rule()
    def reap(self) -> None:
        self._lead(reaper.LEASE, "one", self.reaper.run_pass)

    @rule()
    def carry_out_cancellations(self) -> None:
        self._lead(canceller.LEASE, "one", self.canceller.run_pass)

    @rule()
    def carry_out_redrives(self) -> None:
        self._lead(redriver.LEASE, "one", self.redriver.run_pass)

    def _lead(self, name: str, owner: str, run_pass: Any) -> int:
        """Take the lease, whoever held it, and do one pass."""

        async def lead() -> int:
            await self.platform.rows("UPDATE leases SET expires_at = '-infinity' WHERE name = %s", name)
            async with self.platform.db.transaction() as conn:
                epoch = await leases.acquire(conn, name, owner, timedelta(minutes=1))
            done: int = await run_pass(epoch)
            return done

        return self.platform.run(lead())

    # --- what workers do --------------------------------------------------------------------------

    @rule(target=held, worker=WORKERS, mode=MODES)
    def take(self, worker: int, mode: Mode) -> Any:
        attempts = self.platform.run(self._take(worker, mode))
        return multiple(*((worker, attempt) for attempt in attempts))

    async def _take(self, worker: int, mode: Mode) -> list[OpenAttempt]:
        queue = self.platform.queues[mode]
        for job in queue.get_jobs(0, 1):
            queue.remove(job.id)
            return await self.workers[worker].open([UUID(one) for one in job.args[0]])
        return []

    @rule(one=consumes(held), outcome=OUTCOMES)
    def finish(self, one: tuple[int, OpenAttempt], outcome: Outcome) -> None:
        worker, attempt = one
        self.platform.run(self.workers[worker].finish([Result(attempt, outcome, "log")]))

    @rule(one=held, outcome=OUTCOMES)
    def finish_and_send_again(self, one: tuple[int, OpenAttempt], outcome: Outcome) -> None:
        """A worker whose answer from the database was lost writes once more; the second time nothing is its own."""
        worker, attempt = one
        self.platform.run(self.workers[worker].finish([Result(attempt, outcome)]))
        assert self.platform.run(self.workers[worker].finish([Result(attempt, outcome)])) == set()

    # --- what befalls them ------------------------------------------------------------------------

    @rule(worker=WORKERS)
    def a_worker_falls_silent(self, worker: int) -> None:
        """It may be dead, or only believe that it still holds its attempts."""
        self.platform.run(
            self.platform.rows(
                "UPDATE attempts SET lease_expires_at = '-infinity' WHERE state = 'running' AND worker = %s",
                f"worker-{worker}",
            )
        )

    @rule()
    def redis_is_wiped(self) -> None:
        self.platform.redis.flushall()

    @precondition(lambda self: self.platform.ahead < timedelta(hours=12))
    @rule(minutes=st.sampled_from([1, 61, 181]))
    def time_passes(self, minutes: int) -> None:
        self.platform.ahead += timedelta(minutes=minutes)

    # --- what must hold ---------------------------------------------------------------------------

    @invariant()
    def the_rows_tell_a_sound_story(self) -> None:
        if getattr(self, "known", None):
            self.platform.run(self._check())

    async def _check(self) -> None:
        rows = self.platform.rows
        known = list(self.known)
        jobs = {
            row[0]: row[1:]
            for row in await rows(
                "SELECT id, state, state_version, ticket, tenant_id FROM jobs WHERE id = ANY(%s)", known
            )
        }
        assert set(jobs) == self.known, "a job is lost"
        assert len({ticket for _, _, ticket, _ in jobs.values()}) == len(jobs), "a ticket is shared"
        paths: dict[UUID, list[str]] = {job: [] for job in jobs}
        for job, seq, source, target in await rows(
            "SELECT job_id, seq, from_state, to_state FROM job_events WHERE job_id = ANY(%s) ORDER BY seq",
            known,
        ):
            assert seq == len(paths[job]) + 1, "the history has a gap"
            assert source == (paths[job][-1] if paths[job] else None), "the history does not join"
            paths[job].append(target)
        for job, path in paths.items():
            assert all(may_move(JobState(a), JobState(b)) for a, b in pairwise(path)), path
            assert (path[-1], len(path)) == jobs[job][:2], "the state is not what the history says"
        used = dict(
            await rows(
                "SELECT job_id, count(*) FROM usage_events WHERE meter = 'job_completed' AND job_id = ANY(%s) GROUP BY 1",
                known,
            )
        )
        assert used == {job: 1 for job, path in paths.items() if "completed" in path}, (
            "usage is not once a job"
        )
        live: dict[UUID, list[str]] = {}
        for job, state in await rows(
            "SELECT job_id, state FROM attempts WHERE job_id = ANY(%s) AND state IN ('dispatched', 'running')",
            known,
        ):
            live.setdefault(job, []).append(state)
        for job, (state, *_) in jobs.items():
            assert len(live.get(job, [])) <= 1, "two live attempts"
            assert (state == "processing") == (live.get(job) == ["running"]), "processing without an attempt"
        for tenant in self.tenants:
            mine = [job for job in live if jobs[job][3] == tenant]
            assert len(mine) <= CAP, "the cap is passed"

    def teardown(self) -> None:
        """Let everything come to its end: no job may be left behind."""
        if not getattr(self, "known", None):
            return
        open_: list[Any] = []
        for round_ in range(200):
            self.platform.ahead += timedelta(hours=1)
            for which in range(2):
                self.dispatch(which)
            for worker, mode in enumerate(Mode):
                for attempt in self.platform.run(self._take(worker, mode)):
                    self.platform.run(
                        self.workers[worker].finish([Result(attempt, JobOutput(bytes(32), 2, "a/b", b"{}"))])
                    )
            for worker in range(3):
                self.a_worker_falls_silent(worker)
            self.reap()
            self.carry_out_cancellations()
            self.carry_out_redrives()
            open_ = self.platform.run(
                self.platform.rows(
                    "SELECT id FROM jobs WHERE id = ANY(%s) AND state IN ('created', 'processing')",
                    list(self.known),
                )
            )
            if not open_:
                note(f"all ended after {round_ + 1} rounds")
                break
        else:
            raise AssertionError(f"jobs are left behind: {open_}")
        self.platform.run(self._check())


def test_any_order_of_steps_tells_a_sound_story(
    urls: Any, valkey_url: str, handlers: Handlers, tmp_path: Path
) -> None:
    platform = Platform(urls, valkey_url, handlers, tmp_path / "blobs")
    try:
        machine = type("TheLife", (Life,), {"platform": platform})
        deep = settings.default is not None and settings.default.max_examples > 1_000
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=500 if deep else 10,
                stateful_step_count=60 if deep else 40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        platform.close()
