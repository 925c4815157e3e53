"""Whose attempts are written and pushed: the dispatcher on real PostgreSQL and Valkey, without workers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar, Self
from uuid import UUID

import psycopg
import pytest
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow
from pydantic import SecretStr
from support import Time, pages_of

from relayer.jobs import dispatch_repository, submission_repository
from relayer.jobs.dispatcher import LEASE, Dispatcher
from relayer.jobs.handlers.base import Mode
from relayer.jobs.handlers.registry import Handlers
from relayer.jobs.intake import Submitted
from relayer.jobs.queue import JobQueue
from relayer.jobs.records import Priority
from relayer.jobs.service import JobService
from relayer.jobs.submission import Options, Submission, prepare
from relayer.model.clock import utc_now
from relayer.model.ids import new_id
from relayer.settings import DatabaseSettings, DispatcherSettings, RedisSettings
from relayer.store import leases
from relayer.store.database import Database
from relayer.store.leases import LeaseLostError
from relayer.store.registries import RegistryRow
from relayer.tenants.administration import Administration
from relayer.tenants.audit import Actor, ActorType, Origin

SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Deck:
    """A dispatcher and what a test may ask about its work."""

    service: JobService
    db: Database
    dispatcher: Dispatcher
    time: Time

    async def submit(
        self, tenant: UUID, count: int, kind: str = "digest", options: Options | None = None
    ) -> list[UUID]:
        value = {"text": "a"} if kind == "digest" else {"seconds": 0.0}
        one = Submission(kind, value, {}, None, bytes(32), options or Options())
        jobs = []
        for start in range(0, count, 500):
            made = await self.service.submit_many(tenant, [one] * min(500, count - start))
            jobs += [each.job.id for each in made if isinstance(each, Submitted)]
        assert len(jobs) == count
        return jobs

    async def run_pass(self) -> int:
        async with self.db.transaction() as conn:
            epoch = await leases.acquire(conn, LEASE, "test", timedelta(minutes=1))
        assert epoch is not None
        return await self.dispatcher.run_pass(epoch)

    async def dispatched(self) -> list[tuple[UUID, str, UUID]]:
        """Give (tenant, kind, job) of every attempt, in the order in which they were dealt."""
        return await self.rows("SELECT tenant_id, kind, job_id FROM attempts ORDER BY id")

    async def rows(self, query: str, *values: Any) -> list[Any]:
        async with self.db.transaction() as conn:
            return await (await conn.execute(query.encode(), values)).fetchall()


@pytest.fixture
async def deck(
    service: JobService, relayer_db: Database, owner_db: Database, handlers: Handlers, valkey_url: str
) -> Deck:
    async with owner_db.transaction() as conn:
        await conn.execute("ALTER TABLE tenants ALTER COLUMN running_cap SET DEFAULT 50")
        await conn.execute("UPDATE tenants SET running_cap = 10000")
    time = Time()
    queue = JobQueue(RedisSettings(url=SecretStr(valkey_url)))
    settings = DispatcherSettings(inline_window=100, isolated_reserve=10)
    return Deck(service, relayer_db, Dispatcher(relayer_db, queue, handlers, settings, time), time)


async def test_one_job_in_the_middle_of_a_flood_waits_for_the_window_at_most(
    deck: Deck, tenants: list[UUID], owner_db: Database
) -> None:
    """What is in the window goes before it, and of what is dispatched from then on at most one job."""
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET running_cap = 10000")

    async def take_ten() -> None:
        """Let workers open what has been in the queue for longest."""
        async with owner_db.transaction() as conn:
            await conn.execute(
                """UPDATE attempts SET state = 'running', fencing_token = 1,
                                       lease_expires_at = clock_timestamp() + interval '1 h'
                   WHERE id IN (SELECT id FROM attempts WHERE state = 'dispatched' ORDER BY id LIMIT 10)"""
            )

    await deck.submit(tenants[0], 5_000)
    assert await deck.run_pass() == 100
    for _ in range(5):
        await take_ten()
        assert await deck.run_pass() == 10
    (late,) = await deck.submit(tenants[1], 1)
    before = await deck.dispatched()
    assert await deck.run_pass() == 0
    await take_ten()
    assert await deck.run_pass() > 0
    assert late in [job for _, _, job in (await deck.dispatched())[len(before) :][:2]]
    ahead = await deck.rows(
        """SELECT FROM attempts WHERE state = 'dispatched' AND id < (SELECT id FROM attempts WHERE job_id = %s)""",
        late,
    )
    assert len(ahead) <= 100


async def test_a_flood_over_kinds_gains_nothing(deck: Deck, tenants: list[UUID]) -> None:
    await deck.submit(tenants[0], 200)
    await deck.submit(tenants[0], 200, "test.nap")
    await deck.submit(tenants[0], 200, options=Options(priority=Priority.HIGH))
    await deck.submit(tenants[1], 200)
    while await deck.run_pass():
        pass
    assert Counter(tenant for tenant, _, _ in await deck.dispatched()) == {tenants[0]: 50, tenants[1]: 50}


async def test_high_goes_before_normal_and_old_before_new(deck: Deck, tenants: list[UUID]) -> None:
    normal = await deck.submit(tenants[0], 3)
    high = await deck.submit(tenants[0], 3, options=Options(priority=Priority.HIGH))
    await deck.run_pass()
    assert [job for _, _, job in await deck.dispatched()] == [*high, *normal]


async def test_a_tenants_cap_holds_over_both_modes(
    deck: Deck, tenants: list[UUID], owner_db: Database
) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET running_cap = 7")
    await deck.submit(tenants[0], 20)
    await deck.submit(tenants[0], 20, "test.sleep")
    while await deck.run_pass():
        pass
    assert len(await deck.dispatched()) == 7


async def test_a_kinds_cap_holds_over_all_tenants_and_says_so(
    deck: Deck, tenants: list[UUID], owner_db: Database
) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute("INSERT INTO kind_caps VALUES ('test.nap', 3)")
        await conn.execute(
            "INSERT INTO workers VALUES (%s, 'inline', 'w', 1, now(), now() + interval '1 h')", [new_id()]
        )
    naps = [job for tenant in tenants for job in await deck.submit(tenant, 5, "test.nap")]
    await deck.submit(tenants[0], 5)
    while await deck.run_pass():
        pass
    assert Counter(kind for _, kind, _ in await deck.dispatched()) == {"test.nap": 3, "digest": 5}
    deck.time.ahead += 2 * SECOND
    await deck.run_pass()
    jobs = [await deck.service.get(tenants[0], job) for job in naps[:5]]
    assert {job.status_reason for job in jobs if job is not None} == {"kind_cap"}


async def test_a_suspended_tenants_jobs_wait_and_say_so(
    deck: Deck, tenants: list[UUID], admin_db: Database
) -> None:
    administration = Administration(admin_db)
    origin = Origin(Actor(ActorType.SYSTEM, "test"))
    held = await deck.submit(tenants[0], 3)
    await deck.submit(tenants[1], 3)
    await administration.suspend(tenants[0], "unpaid", origin)
    while await deck.run_pass():
        pass
    assert {tenant for tenant, _, _ in await deck.dispatched()} == {tenants[1]}
    deck.time.ahead += 2 * SECOND
    await deck.run_pass()
    jobs = [await deck.service.get(tenants[0], job) for job in held]
    assert [job and job.status_reason for job in jobs] == ["tenant_suspended"] * 3
    await administration.resume(tenants[0], origin)
    deck.time.ahead += 2 * SECOND
    while await deck.run_pass():
        pass
    assert {job for tenant, _, job in await deck.dispatched() if tenant == tenants[0]} == set(held)


async def test_a_scheduled_job_waits_for_its_time(deck: Deck, tenants: list[UUID]) -> None:
    later = utc_now() + timedelta(hours=2)
    (job,) = await deck.submit(tenants[0], 1, options=Options(run_at=later))
    seen = await deck.service.get(tenants[0], job)
    assert seen is not None
    assert (seen.status_reason, seen.run_at) == ("scheduled", later)
    for deck.time.ahead in (timedelta(0), timedelta(minutes=1), timedelta(minutes=119)):
        assert await deck.run_pass() == 0
    deck.time.ahead = timedelta(hours=2)
    assert await deck.run_pass() == 1


async def test_a_job_due_now_is_not_held_up_by_a_scheduled_one(deck: Deck, tenants: list[UUID]) -> None:
    await deck.submit(tenants[0], 1, options=Options(run_at=utc_now() + timedelta(days=1)))
    await deck.run_pass()
    (now,) = await deck.submit(tenants[0], 1)
    assert await deck.run_pass() == 1
    assert [job for _, _, job in await deck.dispatched()] == [now]


async def test_a_submission_that_commits_late_is_found_within_a_second(
    deck: Deck, tenants: list[UUID], api_db: Database, handlers: Handlers, registry_row: RegistryRow
) -> None:
    """It sees its queue active, and commits after the dispatcher has found the queue empty."""
    await deck.submit(tenants[0], 1)
    async with api_db.transaction(tenants[0]) as conn:
        await insert_late(conn, tenants[0], handlers, registry_row)
        assert await deck.run_pass() == 1
        assert await deck.run_pass() == 0
    deck.time.ahead += SECOND
    assert await deck.run_pass() == 1


async def test_a_submission_that_commits_after_a_long_rest_is_found_with_the_next_look(
    deck: Deck, tenants: list[UUID], api_db: Database, handlers: Handlers, registry_row: RegistryRow
) -> None:
    """The queue is not forgotten just when it is to be looked at."""
    await deck.submit(tenants[0], 1)
    async with api_db.transaction(tenants[0]) as conn:
        await insert_late(conn, tenants[0], handlers, registry_row)
        for ahead in (0, 1, 2):
            deck.time.ahead = ahead * SECOND
            await deck.run_pass()
    assert await deck.rows("SELECT looks FROM active_queues") == [(2,)]
    deck.time.ahead += timedelta(seconds=31)
    assert await deck.run_pass() == 1


async def test_a_queue_does_not_rest_where_a_submission_came_after_the_look(
    deck: Deck,
    tenants: list[UUID],
    owner_db: Database,
    api_db: Database,
    handlers: Handlers,
    registry_row: RegistryRow,
) -> None:
    """It finds the queue due already, and says only that it has a job."""
    await deck.submit(tenants[0], 1)
    await deck.run_pass()
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE active_queues SET due_at = now() - interval '1 min', looks = 1")
    async with deck.db.transaction() as conn:
        _, looks = await dispatch_repository.waiting(conn, {tenants[0]: 100}, ["digest"], utc_now())
    async with api_db.transaction(tenants[0]) as conn:
        await insert_late(conn, tenants[0], handlers, registry_row)
        resting = asyncio.create_task(rest(deck, looks))
        while not await deck.rows("SELECT FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
    await resting
    assert await deck.run_pass() == 1


async def rest(deck: Deck, looks: list[dispatch_repository.Look]) -> None:
    async with deck.db.transaction() as conn:
        await dispatch_repository.rest_queues(conn, looks, utc_now(), short=SECOND, long=30 * SECOND)


async def insert_late(
    conn: AsyncConnection[Any], tenant: UUID, handlers: Handlers, registry: RegistryRow
) -> None:
    """Submit in a transaction that the test ends."""
    one = Submission("digest", {"text": "late"}, {}, None, bytes(32))
    new = prepare(one, handlers, tenant=tenant, registry=registry.id, route="test", at=utc_now()).new
    assert await submission_repository.tickets(
        await submission_repository.insert_jobs(conn, submission_repository.insertion(tenant, "test", [new]))
    )


async def test_queues_that_stay_empty_are_forgotten_and_found_again(
    deck: Deck, tenants: list[UUID], owner_db: Database
) -> None:
    await deck.submit(tenants[0], 1)
    await deck.run_pass()
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE jobs SET state = 'processing'")
    for _ in range(4):
        await deck.run_pass()
        deck.time.ahead += timedelta(seconds=31)
    await deck.run_pass()
    deck.time.ahead += 2 * SECOND
    await deck.run_pass()
    assert await deck.rows("SELECT FROM active_queues") == await deck.rows("SELECT FROM turns") == []
    await deck.submit(tenants[0], 1)
    assert await deck.run_pass() == 1
    # Whatever removed the row of a queue that has a job: the sweep of the minute makes a new one.
    await deck.submit(tenants[1], 1)
    async with owner_db.transaction() as conn:
        await conn.execute("DELETE FROM active_queues")
    assert await deck.run_pass() == 0
    deck.time.ahead += timedelta(minutes=1)
    assert await deck.run_pass() == 1


async def test_the_bell_rings_for_a_queue_at_rest_only(deck: Deck, tenants: list[UUID], urls: Any) -> None:
    connection = await AsyncConnection.connect(urls.relayer, autocommit=True)
    async with connection:
        await connection.execute("LISTEN jobseal_jobs")
        for _ in range(3):
            await deck.submit(tenants[0], 1)
        await deck.submit(tenants[1], 1, options=Options(run_at=utc_now() + timedelta(hours=1)))
        assert len([ring async for ring in connection.notifies(timeout=0.3)]) == 1
        await deck.run_pass()
        await deck.submit(tenants[0], 1)
        assert len([ring async for ring in connection.notifies(timeout=0.3)]) == 1


async def test_two_dispatchers_never_give_one_job_two_attempts(
    deck: Deck, tenants: list[UUID], owner_db: Database, urls: Any, handlers: Handlers, valkey_url: str
) -> None:
    """The lease keeps them apart; where both believe that they lead, the index of live attempts does.

    Every third round the lease goes to somebody else in the middle of both passes.
    """
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET running_cap = 10000")
    jobs = [job for tenant in tenants for job in await deck.submit(tenant, 150)]
    queue = JobQueue(RedisSettings(url=SecretStr(valkey_url)))
    settings = DispatcherSettings(inline_window=7)
    beaten: Counter[type[Exception]] = Counter()

    async def run_pass(dispatcher: Dispatcher, epoch: int) -> int:
        try:
            return await dispatcher.run_pass(epoch)
        except (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected, LeaseLostError) as error:
            beaten[type(error)] += 1
            return 0

    async def lead(db: Database, owner: int) -> int:
        await asyncio.sleep(owner % 10 / 1000)
        async with db.transaction() as conn:
            await conn.execute("UPDATE leases SET expires_at = '-infinity'")
            epoch = await leases.acquire(conn, LEASE, str(owner), timedelta(minutes=1))
        assert epoch is not None
        return epoch

    pushed = number = 0
    async with Database(DatabaseSettings(url=SecretStr(urls.relayer))) as other_db:
        both = [Dispatcher(db, queue, handlers, settings, deck.time) for db in (deck.db, other_db)]
        epoch = await lead(deck.db, 0)
        while pushed < len(jobs):
            number += 1
            assert number < 300, "they get nowhere"
            passes = [run_pass(one, epoch) for one in both]
            if number % 3 == 0:
                epoch, *counts = await asyncio.gather(lead(other_db, number), *passes)
            else:
                counts = await asyncio.gather(*passes)
            pushed += sum(counts)
            # Workers take what is in the queue; a queue that was found empty is due again.
            async with deck.db.transaction() as conn:
                await conn.execute(
                    """UPDATE attempts SET state = 'running', fencing_token = 1,
                                           lease_expires_at = clock_timestamp() + interval '1 h'
                       WHERE state = 'dispatched'"""
                )
            deck.time.ahead += SECOND
    assert Counter(job for _, _, job in await deck.dispatched()) == Counter(jobs)
    assert pushed == len(jobs)
    written = await deck.rows("SELECT DISTINCT queue_job_id FROM attempts")
    assert await queue.waiting(Mode.INLINE) == {row[0] for row in written}
    # They did meet.
    assert beaten[psycopg.errors.UniqueViolation] > 0
    assert beaten[LeaseLostError] > 0


async def test_an_unknown_kind_is_said_by_its_queue_until_its_plug_in_is_back(
    deck: Deck, tenants: list[UUID], owner_db: Database, valkey_url: str
) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute(
            "INSERT INTO workers VALUES (%s, 'inline', 'w', 1, now(), now() + interval '1 h')", [new_id()]
        )
    (job,) = await deck.submit(tenants[0], 1)
    (later,) = await deck.submit(tenants[0], 1, options=Options(run_at=utc_now() + timedelta(hours=1)))
    before = await deck.rows("SELECT id, xmin::text, status_reason FROM jobs ORDER BY id")

    async def reasons() -> list[str | None]:
        seen = [await deck.service.get(tenants[0], one) for one in (job, later)]
        return [one.status_reason for one in seen if one is not None]

    queue = JobQueue(RedisSettings(url=SecretStr(valkey_url)))
    without = Dispatcher(deck.db, queue, {}, DispatcherSettings(), deck.time)
    assert await replace(deck, dispatcher=without).run_pass() == 0
    assert await reasons() == ["unknown_kind", "scheduled"]
    assert await deck.run_pass() == 1
    assert await reasons() == ["queued", "scheduled"]
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET running_cap = 1")
    deck.time.ahead += 2 * SECOND
    await deck.run_pass()
    assert await reasons() == ["tenant_cap", "scheduled"]
    assert await deck.rows("SELECT id, xmin::text, status_reason FROM jobs ORDER BY id") == before


class Measured(AsyncCursor[TupleRow]):
    """A cursor that notes how many pages each query reads: what it costs, on any machine."""

    pages: ClassVar[Counter[str]] = Counter()

    async def execute(self, query: Any, params: Any = None, **rest: Any) -> Self:
        text = query if isinstance(query, str) else query.decode()
        if text.lstrip().startswith(("WITH", "SELECT", "INSERT", "UPDATE", "DELETE")):
            async with self.connection.transaction(force_rollback=True):
                self.pages[text] += await pages_of(AsyncCursor(self.connection), text, params)
        return await super().execute(query, params, **rest)


class MeasuredDatabase(Database):
    """A database whose statements are measured; nothing is pipelined."""

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        async with super()._connection() as conn:
            conn.cursor_factory = Measured
            try:
                yield conn
            finally:
                conn.cursor_factory = AsyncCursor


@pytest.fixture
def pages_read(
    owner_db: Database,
    urls: Any,
    registry_row: RegistryRow,
    tenants: list[UUID],
    handlers: Handlers,
    valkey_url: str,
) -> Callable[[int], Awaitable[dict[str, int]]]:
    """How many pages each query of a pass reads while that many jobs wait, behind a window full but for ten.

    It is the first pass of a dispatcher, with all that is done at intervals. As many attempts as are in the window run.
    """
    window = 400

    async def measure(jobs: int) -> dict[str, int]:
        async with owner_db.transaction() as conn:
            await conn.execute("TRUNCATE jobs, active_queues, turns CASCADE")
            await conn.execute("UPDATE tenants SET running_cap = 10000")
            await conn.execute(
                """INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, status_reason, input, input_hash,
                                     metadata, salt, max_attempts, run_at, created_at)
                   SELECT gen_random_uuid(), (%s::uuid[])[1 + n %% 2], %s, n, 'digest',
                          CASE WHEN n <= %s THEN 'processing' ELSE 'created' END, 'queued', '{}',
                          sha256(''), '{}', sha256(''), 3, now() - interval '1 h' + n * interval '1 ms', now()
                   FROM generate_series(1, %s) AS n""",
                [tenants, registry_row.id, window, jobs],
            )
            await conn.execute(
                """INSERT INTO attempts (id, job_id, tenant_id, kind, priority, number, mode, state, queue_job_id,
                                         fencing_token, lease_expires_at, dispatched_at, pushed_at)
                   SELECT gen_random_uuid(), id, tenant_id, kind, priority, 1, 'inline',
                          CASE state WHEN 'created' THEN 'dispatched' ELSE 'running' END, gen_random_uuid(),
                          1, now() + interval '1 h', now(), now()
                   FROM jobs WHERE ticket <= %s""",
                [2 * window - 10],
            )
            await dispatch_repository.find_queues(conn)
        async with await AsyncConnection.connect(urls.owner, autocommit=True) as conn:
            for table in ("jobs", "active_queues", "attempts", "turns"):
                await conn.execute(f"VACUUM ANALYZE {table}".encode())
        Measured.pages.clear()
        async with MeasuredDatabase(DatabaseSettings(url=SecretStr(urls.relayer))) as db:
            queue = JobQueue(RedisSettings(url=SecretStr(valkey_url)))
            settings = DispatcherSettings(inline_window=window, push_again_after=timedelta(hours=1))
            async with db.transaction() as conn:
                epoch = await leases.acquire(conn, LEASE, "test", timedelta(minutes=1))
            assert epoch is not None
            assert await Dispatcher(db, queue, handlers, settings, utc_now).run_pass(epoch) == 10
        return dict(Measured.pages)

    return measure


async def test_a_pass_costs_the_same_for_fifty_times_as_many_waiting_jobs(
    pages_read: Callable[[int], Awaitable[dict[str, int]]],
) -> None:
    few, many = await pages_read(1_000), await pages_read(50_000)
    for query in (
        dispatch_repository._LIVE,
        dispatch_repository._NOTE_HOLDS,
        dispatch_repository._FIND_QUEUES,
    ):
        assert query in few
    assert few.keys() == many.keys()
    for name, pages in few.items():
        assert many[name] <= 2 * pages + 20, (name, pages, many[name])


async def test_pushes_that_the_queue_lost_are_pushed_again(
    deck: Deck, tenants: list[UUID], valkey_url: str
) -> None:
    await deck.submit(tenants[0], 3)
    queue = JobQueue(RedisSettings(url=SecretStr(valkey_url)))
    assert await deck.run_pass() == 3
    first = await queue.waiting(Mode.INLINE)
    deck.time.ahead += 10 * SECOND
    assert await deck.run_pass() == 0
    await queue._ask(queue._redis.flushall)
    deck.time.ahead += 10 * SECOND
    assert await deck.run_pass() == 3
    assert not await queue.waiting(Mode.INLINE) & first
    assert len(await deck.dispatched()) == 3
