"""Quotas, as a tenant meets them: exact, told of in time, and shown."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from psycopg.rows import dict_row

from api.app import Settings, create_app
from relayer.jobs.attempt_repository import Finish, finish_attempts
from relayer.jobs.quotas import LEASE, QuotaWatch
from relayer.store import leases
from relayer.store.database import Database
from relayer.tenants.plans import PLANS

from .conftest import ROOM, Body, Caller, Engine, assert_problem, new_key, serving

# Ten seconds before the end of a month.
LATE = datetime(2026, 12, 31, 23, 59, 50, tzinfo=UTC)
JOB_VALUE = {"kind": "digest", "input": {"text": "a"}}
JOB = json.dumps(JOB_VALUE).encode()


class Hand:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Hand:
    return Hand(LATE)


@pytest.fixture
async def callers(settings: Settings, owner_db: Database, clock: Hand) -> AsyncIterator[list[Caller]]:
    """One tenant at two processes, with five jobs a day and a minute of compute a month."""
    limits = replace(ROOM, jobs_per_day=5, compute_per_month=timedelta(minutes=1), storage_bytes=1_000)
    secret = await new_key(owner_db, "acme", clock, limits=limits)
    async with (
        serving(create_app(settings, clock=clock)) as one,
        serving(create_app(settings, clock=clock)) as other,
    ):
        callers = [Caller(one, secret), Caller(other, secret)]
        callers[1]._submitted = 1000  # keys of its own
        yield callers


async def test_a_day_has_exactly_its_jobs_and_the_next_has_them_anew(
    callers: list[Caller], clock: Hand
) -> None:
    answers = await asyncio.gather(*(callers[n % 2].submit(JOB, f"k{n}") for n in range(20)))
    assert Counter(answer.status_code for answer in answers) == {202: 5, 429: 15}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert assert_problem(refused, 429, "quota_exceeded")["meta"] == {
        "violated_policies": ["jobs"],
        "meter": "jobs",
        "used": 5,
        "limit": 5,
        "resets_at": "2027-01-01T00:00:00Z",
    }
    assert refused.headers["retry-after"] == "10"
    foreseen = await callers[1].post_json("/v1/jobs?validate_only=true", JOB_VALUE, idempotency_key="new")
    assert foreseen.json()["meta"] == refused.json()["meta"]
    assert_problem(foreseen, 429, "quota_exceeded")
    # A repeated request needs no room.
    again = next(n for n, answer in enumerate(answers) if answer.status_code == 202)
    assert (await callers[0].submit(JOB, f"k{again}")).headers["idempotency-replayed"] == "true"
    clock.now = LATE + timedelta(seconds=9.9)
    assert (await callers[0].submit(JOB)).headers["retry-after"] == "1"
    clock.now = LATE + timedelta(seconds=10)
    items = [{"idempotency_key": f"b{n}", "kind": "digest", "input": {"text": "a"}} for n in range(8)]
    batch = await callers[1].post_json("/v1/jobs:batch", {"jobs": items})
    results: list[Body] = batch.json()["results"]
    assert [one["status"] for one in results] == [202] * 5 + [429] * 3
    assert results[7]["problem"]["code"] == "quota_exceeded"
    assert batch.headers["retry-after"] == str(24 * 3600)
    assert quotas(await callers[0].get("/v1/usage"))["jobs"] == (5, 5)


async def test_the_end_of_a_large_quota_is_as_exact(client: httpx2.AsyncClient, owner_db: Database) -> None:
    """Far from it a process does not even ask; here it comes near, and then to the end."""
    caller = Caller(client, await new_key(owner_db, "acme", limits=PLANS["standard"]))

    async def leave(jobs: int) -> None:
        async with owner_db.transaction() as conn:
            await conn.execute("DELETE FROM usage_counters")
            await conn.execute(
                """INSERT INTO usage_counters SELECT (now() AT TIME ZONE 'UTC')::date, 'jobs', id, 7, jobs_per_day - %s
                   FROM tenants""",
                [jobs],
            )

    async def left() -> int:
        used, limit = quotas(await caller.get("/v1/usage"))["jobs"]
        return limit - used

    # Its rates let it submit 600 in four seconds, and as many are to spare.
    await leave(1_204)
    for _ in range(8):
        await caller.submitted()
    assert await left() == 1_196
    await leave(2)
    answers = await asyncio.gather(*(caller.submit(JOB) for _ in range(6)))
    assert Counter(answer.status_code for answer in answers) == {202: 2, 429: 4}
    assert await left() == 0


async def test_compute_is_counted_once_an_attempt_and_ends_submissions(
    callers: list[Caller], clock: Hand, engine: Engine, relayer_db: Database
) -> None:
    acme = callers[0]
    jobs = [await acme.submitted() for _ in range(3)]
    attempts = [await engine.attempt(job) for job in jobs]

    async def end(number: int, state: str, seconds: float) -> None:
        one = attempts[number]
        async with relayer_db.transaction() as conn:
            await conn.execute(
                "UPDATE attempts SET started_at = %s WHERE id = %s",
                [clock.now - timedelta(seconds=seconds), one.id],
            )
            finish = Finish(one.id, one.fencing_token, state, None, None)
            assert await finish_attempts(conn, [finish], clock.now) == {one.id}
            assert await finish_attempts(conn, [finish], clock.now) == set()

    await end(0, "succeeded", 12.25)
    await end(1, "returned", 100)
    assert quotas(await acme.get("/v1/usage"))["compute_seconds"] == (13, 60)
    await end(2, "failed", 47.75)
    refused = await callers[1].submit(JOB)
    body = assert_problem(refused, 429, "quota_exceeded")
    assert (body["meta"]["meter"], body["meta"]["used"], body["meta"]["limit"]) == ("compute_seconds", 60, 60)
    async with relayer_db.transaction() as conn:
        rows = await conn.execute(
            "SELECT id, quantity FROM usage_events WHERE meter = 'compute_seconds' ORDER BY quantity"
        )
        assert [(one[0], float(one[1])) for one in await rows.fetchall()] == [
            (f"{attempts[0].id}:compute_seconds", 12.25),
            (f"{attempts[2].id}:compute_seconds", 47.75),
        ]
    # What a job was metered is what stands there.
    read = [(await acme.get(f"/v1/jobs/{job['id']}")).json() for job in jobs]
    assert [job["usage"]["compute_seconds"] for job in read] == [12.25, 0, 47.75]
    clock.now = LATE + timedelta(seconds=10)
    assert quotas(await acme.get("/v1/usage"))["compute_seconds"] == (0, 60)
    await acme.submitted()


async def test_thresholds_are_told_once_a_period(
    callers: list[Caller], clock: Hand, relayer_db: Database
) -> None:
    async with relayer_db.transaction() as conn:
        epoch = await leases.acquire(conn, LEASE, "test", timedelta(hours=1))
    assert epoch is not None

    async def news() -> list[tuple[Any, ...]]:
        for _ in range(2):
            await QuotaWatch(relayer_db, clock).run_pass(epoch)
        async with relayer_db.transaction() as conn, conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute("SELECT payload FROM outbox WHERE topic = 'quota.threshold' ORDER BY id")
            told = [row["payload"] for row in await cursor.fetchall()]
        return [
            (one["meter"], one["period"], one["threshold_percent"], one["used"], one["limit"]) for one in told
        ]

    for _ in range(3):
        await callers[0].submitted()
    assert await news() == []
    await callers[0].submitted()
    first = ("jobs", "2026-12-31", 80, 4, 5)
    assert await news() == [first]
    await callers[0].submitted()
    # Midnight passes before anybody looks.
    clock.now = LATE + timedelta(minutes=1)
    assert await news() == [first, ("jobs", "2026-12-31", 100, 5, 5)]
    for _ in range(5):
        await callers[1].submitted()
    assert (await callers[1].post("/v1/blobs", b"a" * 900)).status_code == 201
    assert await news() == [
        first,
        ("jobs", "2026-12-31", 100, 5, 5),
        ("jobs", "2027-01-01", 80, 5, 5),
        ("jobs", "2027-01-01", 100, 5, 5),
        ("storage_bytes", "2027-01-01", 80, 900, 1000),
    ]


async def test_usage_is_shown_against_what_may_be(callers: list[Caller], engine: Engine) -> None:
    acme = callers[0]
    await engine.dispatch(await acme.submitted())
    await acme.submitted()
    body = (await acme.get("/v1/usage")).json()
    assert (body["plan"], body["measured_at"]) == ("standard", "2026-12-31T23:59:50Z")
    assert {one["meter"]: (one["used"], one["limit"], one["period"]) for one in body["quotas"]} == {
        "jobs": (2, 5, {"start": "2026-12-31T00:00:00Z", "end": "2027-01-01T00:00:00Z"}),
        "compute_seconds": (0, 60, {"start": "2026-12-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}),
        "storage_bytes": (0, 1000, None),
        "running_jobs": (1, 50, None),
        "waiting_jobs": (2, 10_000, None),
    }
    assert [one["policy"] for one in body["rates"]] == [
        "key-burst",
        "tenant-read",
        "tenant-write",
        "tenant-submit",
    ]


def quotas(answer: Any) -> dict[str, tuple[int, int]]:
    assert answer.status_code == 200, answer.text
    return {one["meter"]: (one["used"], one["limit"]) for one in answer.json()["quotas"]}
