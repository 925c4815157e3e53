"""Answers of finished jobs are kept in the process; whoever asks is checked all the same, and news of a job is heard."""

import asyncio
from typing import Any

import httpx2
import pytest

from api.app import Settings, create_app
from api.jobs.finished import LIFETIME
from relayer.model.ids import from_public
from relayer.model.lifecycle import JobState
from relayer.store.database import Database
from relayer.tenants.plans import PLANS
from relayer.tenants.scopes import Scope
from relayer.tenants.service import TenantService

from .conftest import KEYS, Body, Caller, Engine, assert_problem, new_key, serving, set_limits

PATH = "/v1/jobs/{id}"


class Watched:
    """An application whose reads of jobs from the database are counted."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings)
        self.services = self.app.state.services
        self.reads = 0
        read = self.services.jobs.get

        async def counted(*args: Any) -> Any:
            self.reads += 1
            return await read(*args)

        self.services.jobs.get = counted


@pytest.fixture
async def cancelled(acme: Caller, engine: Engine) -> Body:
    job = await acme.submitted()
    await engine.move(job, JobState.CANCELLED)
    return job


async def test_a_finished_job_is_read_from_the_database_once(
    settings: Settings, acme: Caller, cancelled: Body
) -> None:
    watched = Watched(settings)
    async with serving(watched.app) as client:
        caller = Caller(client, acme.secret)
        answers = [await caller.get(PATH.format(**cancelled)) for _ in range(3)]
        assert watched.reads == 1
        assert len({answer.content for answer in answers}) == 1
        kept = {
            "etag",
            "cache-control",
            "content-type",
            "content-length",
            "x-content-type-options",
            "ratelimit",
        }
        for answer in answers:
            assert answer.status_code == 200
            assert kept | {"request-id", "ratelimit-policy"} <= answer.headers.keys()
            assert answer.headers["etag"] == answers[0].headers["etag"]
        assert len({answer.headers["request-id"] for answer in answers}) == 3
        known = await caller.get(PATH.format(**cancelled), if_none_match=answers[0].headers["etag"])
        assert (known.status_code, known.content) == (304, b"")
        head = await client.head(PATH.format(**cancelled), headers=caller.headers())
        assert (head.status_code, head.content) == (200, b"")
        assert watched.reads == 2
        # An encoded slash divides no path.
        other = await caller.get(PATH.format(**cancelled).replace("/jobs/", "%2Fjobs/"))
        assert (other.status_code, other.json()["code"]) == (404, "not_found")
        # What waits for a change says that it did.
        waited = await caller.get(PATH.format(**cancelled), prefer="wait=1")
        assert waited.headers["preference-applied"] == "wait=1"


async def test_only_jobs_that_stay_as_they_are_are_kept(
    settings: Settings, acme: Caller, engine: Engine
) -> None:
    watched = Watched(settings)
    waiting, failed = await acme.submitted("a"), await acme.submitted("b")
    await engine.fail(failed)
    async with serving(watched.app) as client:
        caller = Caller(client, acme.secret)
        for _ in range(2):
            for job in (waiting, failed):
                assert (await caller.get(PATH.format(**job))).status_code == 200
        assert watched.reads == 4


async def test_whoever_asks_is_checked_as_ever(
    settings: Settings, acme: Caller, rival: Caller, cancelled: Body, owner_db: Database
) -> None:
    watched = Watched(settings)
    tenants = TenantService(owner_db, KEYS)
    tenant = await tenants.find_tenant("acme")
    assert tenant is not None
    narrow = await tenants.create_key(tenant, "narrow", [Scope.JOBS_WRITE])
    path = PATH.format(**cancelled)
    async with serving(watched.app) as client:
        assert (await Caller(client, acme.secret).get(path)).status_code == 200
        assert watched.services.finished.find(path) is not None
        theirs = assert_problem(await Caller(client, rival.secret).get(path), 404, "job_not_found")
        nobodys = PATH.format(id="job_01970000-0000-7000-8000-000000000000")
        absent = assert_problem(await Caller(client, rival.secret).get(nobodys), 404, "job_not_found")
        own = {"request_id", "instance"}
        assert {k: v for k, v in theirs.items() if k not in own} == {
            k: v for k, v in absent.items() if k not in own
        }
        assert_problem(await client.get(path), 401, "api_key_missing")
        assert_problem(await Caller(client, "wrong").get(path), 401, "api_key_invalid")
        refused = await Caller(client, narrow.secret).get(path)
        assert_problem(refused, 403, "insufficient_scope")
        assert 'scope="jobs:read"' in refused.headers["www-authenticate"]


async def test_kept_answers_are_held_to_the_rates(
    settings: Settings, owner_db: Database, engine: Engine
) -> None:
    watched = Watched(settings)
    async with serving(watched.app) as client:
        caller = Caller(client, await new_key(owner_db, "acme"))
        job = await caller.submitted()
        await engine.move(job, JobState.CANCELLED)
        tenant = await TenantService(owner_db, KEYS).find_tenant("acme")
        assert tenant is not None
        await set_limits(owner_db, tenant, PLANS["free"])
        await asyncio.sleep(0.1)
        answers = [await caller.get(PATH.format(**job)) for _ in range(130)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert 0 < len(refused) <= 30
        assert_problem(refused[0], 429, "rate_limited")
        assert len(refused[0].headers.get_list("ratelimit")) == 1


async def test_a_revocation_is_seen_at_once_and_without_its_news_in_time(
    settings: Settings, acme: Caller, engine: Engine, owner_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(settings)
    jobs = [await acme.submitted("a"), await acme.submitted("b")]
    await engine.complete(jobs[0], b"{}")
    await engine.seal()
    await engine.confirm()
    await engine.move(jobs[1], JobState.CANCELLED)

    async def revoke(job: Body) -> None:
        async with owner_db.transaction() as conn:
            await conn.execute(
                "UPDATE jobs SET revoked_at = now() WHERE id = %s", [from_public("job", job["id"])]
            )

    async def is_shown(caller: Caller, job: Body) -> bool:
        return (await caller.get(PATH.format(**job))).json()["revoked_at"] is not None

    async with serving(watched.app) as client:
        caller = Caller(client, acme.secret)
        assert [await is_shown(caller, job) for job in jobs for _ in range(2)] == [False] * 4
        assert watched.reads == 2
        await revoke(jobs[0])
        for _ in range(100):
            if await is_shown(caller, jobs[0]):
                break
            await asyncio.sleep(0.01)
        assert await is_shown(caller, jobs[0])
        # News that is lost costs no more than an answer's lifetime.
        answers = watched.services.finished
        monkeypatch.setattr(answers, "drop", lambda _: None)
        monkeypatch.setattr(answers._listener, "_heard", lambda _: None)
        await revoke(jobs[1])
        await asyncio.sleep(0.05)
        assert not await is_shown(caller, jobs[1])
        now = answers._monotonic()
        monkeypatch.setattr(answers, "_monotonic", lambda: now + LIFETIME.total_seconds())
        assert await is_shown(caller, jobs[1])


async def test_an_answer_that_was_read_before_the_news_is_not_kept(
    settings: Settings, acme: Caller, cancelled: Body
) -> None:
    watched = Watched(settings)
    async with serving(watched.app) as client:
        caller, answers = Caller(client, acme.secret), watched.services.finished
        read = watched.services.jobs.get

        async def overtaken(*args: Any) -> Any:
            job = await read(*args)
            answers.drop(str(job.id))
            return job

        watched.services.jobs.get = overtaken
        answer: httpx2.Response = await caller.get(PATH.format(**cancelled))
        assert answer.status_code == 200
        assert answers.find(PATH.format(**cancelled)) is None


async def test_no_more_answers_are_kept_than_there_is_room(
    settings: Settings, acme: Caller, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(settings)
    monkeypatch.setattr(watched.services.finished, "_size", 2)
    jobs = [await acme.submitted(text) for text in "abc"]
    for job in jobs:
        await engine.move(job, JobState.CANCELLED)
    async with serving(watched.app) as client:
        caller = Caller(client, acme.secret)
        for job in jobs:
            await caller.get(PATH.format(**job))
        kept = [watched.services.finished.find(PATH.format(**job)) is not None for job in jobs]
        assert kept == [False, True, True]
