"""Submissions that come together are committed together, and each has its own outcome."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from bench.batches.tickets import duration_class
from relayer.jobs.errors import QuotaExceededError, WaitingCapError
from relayer.jobs.handlers.registry import Handlers
from relayer.jobs.intake import Intake, Submitted
from relayer.jobs.submission import Prepared, Submission, prepare
from relayer.model.clock import utc_now
from relayer.model.errors import IdempotencyKeyReusedError, UnavailableError
from relayer.seal.commitment import lane
from relayer.store.database import Database
from relayer.store.registries import RegistryRow
from relayer.tenants.audit import PLATFORM
from relayer.tenants.kind_lanes import KindLanes

Make = Callable[..., Prepared]


@pytest.fixture
def make(handlers: Handlers, registry_row: RegistryRow) -> Make:
    def run(tenant: UUID, text: str, key: str | None = None, fingerprint: bytes = bytes(32)) -> Prepared:
        asked = Submission("digest", {"text": text}, {}, key, fingerprint)
        return prepare(asked, handlers, tenant=tenant, registry=registry_row.id, route="test", at=utc_now())

    return run


async def take(intake: Intake, *those: Prepared) -> list[Any]:
    return list(await asyncio.gather(*map(intake.take, those), return_exceptions=True))


async def rows(db: Database, query: str) -> list[tuple[Any, ...]]:
    async with db.transaction() as conn:
        return await (await conn.execute(query.encode())).fetchall()


async def test_a_crowd_of_several_tenants_takes_few_transactions(
    api_db: Database, owner_db: Database, tenants: list[UUID], make: Make
) -> None:
    crowd = [make(tenants[number % 2], f"{number}", f"key {number}") for number in range(60)]
    made = await take(Intake(api_db), *crowd)
    assert [one.job.id for one in made] == [one.new.id for one in crowd]
    assert [one.job.tenant_id for one in made] == [one.new.tenant for one in crowd]
    assert len({one.job.ticket for one in made}) == 60
    # Every row tells which transaction wrote it.
    transactions = Counter(row[0] for row in await rows(owner_db, "SELECT xmin::text FROM jobs"))
    assert sum(transactions.values()) == 60
    assert len(transactions) <= 4
    events = await rows(owner_db, "SELECT count(*), count(DISTINCT job_id) FROM job_events")
    assert events == [(60, 60)]
    assert await rows(owner_db, "SELECT count(*) FROM active_queues") == [(2,)]


async def test_one_key_in_one_crowd_makes_one_job(
    api_db: Database, owner_db: Database, tenants: list[UUID], make: Make
) -> None:
    same = [make(tenants[0], "a", "key") for _ in range(10)]
    others = [make(tenants[0], "b", "key", b"\1" * 32) for _ in range(3)]
    elsewhere = make(tenants[1], "b", "key", b"\1" * 32)
    made = await take(Intake(api_db), *same, *others, elsewhere)
    assert len({one.job.id for one in made[:10]}) == 1
    assert Counter(one.replayed for one in made[:10]) == {False: 1, True: 9}
    assert all(isinstance(one, IdempotencyKeyReusedError) for one in made[10:13])
    assert made[13].job.id == elsewhere.new.id
    assert await rows(owner_db, "SELECT count(*) FROM jobs") == [(2,)]


async def test_a_submission_that_breaks_its_transaction_breaks_nobody_elses(
    api_db: Database, tenants: list[UUID], make: Make
) -> None:
    good = [make(tenants[number % 2], f"{number}") for number in range(6)]
    bad = make(tenants[0], "bad")
    bad = replace(bad, new=replace(bad.new, max_attempts=0))
    *made, refused = await take(Intake(api_db), *good, bad)
    assert all(isinstance(one, Submitted) for one in made)
    assert isinstance(refused, psycopg.errors.CheckViolation)


async def test_of_a_crowd_as_many_get_in_as_there_is_room(
    api_db: Database, owner_db: Database, tenants: list[UUID], make: Make
) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET waiting_cap = 4 WHERE id = %s", [tenants[0]])
    intake = Intake(api_db)
    crowd = [make(tenants[0], f"{number}", f"key {number}") for number in range(10)]
    made = await take(intake, *crowd, make(tenants[1], "other"))
    assert Counter(type(one) for one in made) == {Submitted: 5, WaitingCapError: 6}
    assert isinstance(made[-1], Submitted)
    # What was let in may be asked for again.
    again = await take(intake, *crowd)
    assert [type(one) for one in again] == [type(one) for one in made[:-1]]
    assert all(one.replayed for one in again if isinstance(one, Submitted))


async def test_whoever_hangs_up_holds_up_nobody(
    api_db: Database, owner_db: Database, tenants: list[UUID], make: Make
) -> None:
    intake = Intake(api_db)
    asked = [asyncio.create_task(intake.take(make(tenants[0], f"{number}"))) for number in range(8)]
    await asyncio.sleep(0)
    for task in asked[::2]:
        task.cancel()
    made = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(one, Submitted) for one in made[1::2])
    assert await rows(owner_db, "SELECT count(*) FROM jobs") == [(4,)]


async def test_a_key_that_is_contended_holds_up_nobody_else(
    api_db: Database, tenants: list[UUID], make: Make
) -> None:
    intake = Intake(api_db)
    async with api_db.transaction(tenants[0]) as conn:
        # Somebody else is about to use the key, and takes their time.
        await conn.execute(
            """INSERT INTO idempotency_keys (tenant_id, route, key, fingerprint, created_at, expires_at)
               VALUES (%s, 'test', 'key', %s, now(), now() + '1 d')""",
            [tenants[0], bytes(32)],
        )
        held = asyncio.create_task(intake.take(make(tenants[0], "held", "key")))
        others = [make(tenants[number % 2], f"{number}", f"key {number}") for number in range(8)]
        # PostgreSQL ends a transaction that stands still after ten seconds.
        made = await asyncio.wait_for(take(intake, *others), 8)
        assert all(isinstance(one, Submitted) for one in made)
        assert not held.done()
    # Their key made no job.
    with pytest.raises(UnavailableError, match="is gone"):
        await held


async def test_a_tenant_near_its_quota_goes_apart_and_gets_exactly_it(
    api_db: Database, owner_db: Database, tenants: list[UUID], make: Make
) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET jobs_per_day = 3 WHERE id = %s", [tenants[0]])
        await conn.execute(
            "UPDATE tenants SET jobs_per_day = 1000, submissions_burst = 20, submissions_per_minute = 60 WHERE id = %s",
            [tenants[1]],
        )
    crowd = [make(tenants[number % 2], f"{number}", f"key {number}") for number in range(12)]
    made = await take(Intake(api_db), *crowd)
    assert Counter(type(one) for one in made[::2]) == {Submitted: 3, QuotaExceededError: 3}
    assert all(isinstance(one, Submitted) for one in made[1::2])
    # A small quota may be far all the same: its jobs were made together.
    written = await rows(owner_db, "SELECT DISTINCT tenant_id, xmin::text FROM jobs")
    assert sum(tenant == tenants[1] for tenant, _ in written) <= 3


async def test_tickets_are_drawn_by_expected_duration_and_not_by_tenant(
    api_db: Database, owner_db: Database, tenants: list[UUID], make: Make
) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute("INSERT INTO run_times (kind, seconds, jobs) VALUES ('digest', 60, 1)")
    now = [make(tenants[number % 2], f"{number}") for number in range(6)]
    # With the minute that it runs it ends when jobs of four minutes do that begin now.
    later = make(tenants[0], "later")
    later = replace(later, new=replace(later.new, run_at=later.new.at + timedelta(seconds=180)))
    made = await take(Intake(api_db), *now, later)
    classes = [one.job.ticket >> 8 & 31 for one in made]
    assert classes == [duration_class(60)] * 6 + [duration_class(240)]
    assert {one.job.ticket & 255 for one in made[:6]} == set(range(6))


async def test_a_kind_of_which_nothing_is_known_has_words_of_its_own(
    api_db: Database, tenants: list[UUID], make: Make
) -> None:
    (made,) = await take(Intake(api_db), make(tenants[0], "first"))
    assert made.job.ticket == 0


async def test_a_ticket_lies_in_the_lane_that_the_kind_has_when_its_job_is_made(
    api_db: Database, admin_db: Database, tenants: list[UUID], make: Make
) -> None:
    intake, lanes = Intake(api_db), KindLanes(admin_db)
    drawn = []
    for number, given in enumerate([None, 3, 31, 0]):
        if given is not None:
            await lanes.set("digest", given, PLATFORM)
        await lanes.set("other", 7, PLATFORM)
        (made,) = await take(intake, make(tenants[0], f"{number}", f"key {number}"))
        drawn.append(lane(made.job.ticket))
    assert drawn == [0, 3, 31, 0]
    # What was made before keeps its ticket, whatever lane its kind has now.
    (again,) = await take(intake, make(tenants[0], "1", "key 1"))
    assert (again.replayed, lane(again.job.ticket)) == (True, 3)
