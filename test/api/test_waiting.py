"""Waiting for news of a job: long polls and streams."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from api.app import Settings, create_app
from api.jobs import events
from relayer.jobs import watch_repository
from relayer.model.errors import JobsealError, UnavailableError
from relayer.model.ids import new_id
from relayer.model.lifecycle import JobState
from relayer.store.database import Database
from relayer.tenants.key_service import KeyService
from relayer.tenants.service import TenantService

from .conftest import KEYS, Body, Caller, Engine, assert_problem, listening, new_key, serving

# Less than any wait that is asked for here, and more than a busy machine needs.
SOON_S = 8.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Everything happens faster."""
    quick = {
        "watch_every": timedelta(milliseconds=10),
        "stream_ping": timedelta(milliseconds=50),
        "stream_age": timedelta(seconds=5),
    }
    return replace(settings, api=settings.api.model_copy(update=quick))


async def test_a_poll_waits_until_the_state_changes(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    path = f"/v1/jobs/{job['id']}"
    polls = [asyncio.create_task(acme.get(path, prefer="wait=20, respond-async")) for _ in range(3)]
    tag = (await acme.get(path)).headers["etag"]
    polls.append(asyncio.create_task(acme.get(path, prefer='foo="a, b";x, WAIT="20"', if_none_match=tag)))
    await asyncio.sleep(0.1)
    assert not any(poll.done() for poll in polls)
    await engine.move(job, JobState.PROCESSING)
    for answer in await asyncio.wait_for(asyncio.gather(*polls), SOON_S):
        assert (answer.status_code, answer.json()["state"]) == (200, "processing")
        assert answer.headers["preference-applied"] == "wait=20"
    # What changed before is told at once.
    answer = await asyncio.wait_for(acme.get(path, prefer="wait=20", if_none_match=tag), SOON_S)
    assert (answer.status_code, answer.json()["state"]) == (200, "processing")


async def test_a_poll_ends_in_time_and_at_the_jobs_end(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    path = f"/v1/jobs/{job['id']}"
    tag = (await acme.get(path)).headers["etag"]
    unchanged = await acme.get(path, prefer="wait=1", if_none_match=tag)
    assert (unchanged.status_code, unchanged.headers["preference-applied"]) == (304, "wait=1")
    for ignored in ("wait=x", "wait", "wait=-1", "respond-async", '="', ";wait=9", ""):
        answer = await asyncio.wait_for(acme.get(path, prefer=ignored), SOON_S)
        assert "preference-applied" not in answer.headers
    await engine.fail(job)
    ended = await asyncio.wait_for(acme.get(path, prefer="wait=99"), SOON_S)
    assert ended.headers["preference-applied"] == "wait=30"
    missing = await asyncio.wait_for(acme.get(f"/v1/jobs/job_{new_id()}", prefer="wait=20"), SOON_S)
    assert_problem(missing, 404, "job_not_found")


async def test_a_submission_waits_for_its_result_and_stays_202(acme: Caller, engine: Engine) -> None:
    content = b'{"kind":"digest","input":{"text":"a"}}'

    def submit(wait: int) -> asyncio.Task[httpx2.Response]:
        sent = acme.post(
            "/v1/jobs", content, content_type="application/json", idempotency_key="one", prefer=f"wait={wait}"
        )
        return asyncio.create_task(sent)

    early = await submit(1)
    assert (early.status_code, early.json()["state"]) == (202, "created")
    waiting = submit(20)
    await asyncio.sleep(0.05)
    await engine.complete(early.json(), b"{}")
    answer = await asyncio.wait_for(waiting, SOON_S)
    assert (answer.status_code, answer.json()["state"]) == (202, "completed")
    assert answer.json()["result_ready_at"]
    assert answer.headers["idempotency-replayed"] == "true"


async def test_waiting_costs_one_question_a_tick_and_none_when_nobody_waits(
    settings: Settings, owner_db: Database, engine: Engine
) -> None:
    app = create_app(settings)
    async with serving(app) as client:
        callers = [Caller(client, await new_key(owner_db, name)) for name in ("acme", "rival")]
        jobs = [await caller.submitted(str(n)) for caller in callers for n in range(10)]
        watcher = app.state.services.watcher
        looks: list[int] = []
        look = watcher._look

        async def counted() -> None:
            looks.append(len(watcher._waiters))
            await look()

        watcher._look = counted
        polls = [
            asyncio.create_task(callers[number // 10].get(f"/v1/jobs/{job['id']}", prefer="wait=20"))
            for number, job in enumerate(jobs)
        ]
        await until(lambda: 20 in looks)
        tenants = {waiter.tenant for waiter in watcher._waiters}
        streams = app.state.services.streams
        assert [streams.count(tenant) for tenant in tenants] == [10, 10]
        for job in jobs:
            await engine.move(job, JobState.PROCESSING)
        assert {poll.json()["state"] for poll in await asyncio.gather(*polls)} == {"processing"}
        assert [streams.count(tenant) for tenant in tenants] == [0, 0]
        await asyncio.sleep(0.05)
        seen = len(looks)
        await asyncio.sleep(0.05)
        assert len(looks) == seen


async def blocks_of(answer: httpx2.Response) -> AsyncIterator[list[str]]:
    """The blocks of lines of a stream, as they come."""
    block: list[str] = []
    async for line in answer.aiter_lines():
        if line:
            block.append(line)
        elif block:
            yield block
            block = []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


def steps_in(text: str) -> list[Body]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


async def test_a_finished_job_is_replayed_and_the_stream_ends(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    await engine.fail(job)
    path = f"/v1/jobs/{job['id']}/events"
    answer = await acme.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.startswith("retry: 2000\n\nid: 1\ndata: {")
    assert steps_in(answer.text) == await acme.items(f"/v1/jobs/{job['id']}/history")
    rest = await acme.get(path, last_event_id="1")
    assert [step["seq"] for step in steps_in(rest.text)] == [2, 3]
    for seen in ("3", "4", "999999999"):
        assert (await acme.get(path, last_event_id=seen)).status_code == 204
    for bad in ("x", "-1", "1.0", "9999999999"):
        refused = await acme.get(path, last_event_id=bad)
        assert assert_problem(refused, 400, "invalid_parameter")["errors"][0]["parameter"] == "Last-Event-ID"
    assert_problem(await acme.get(f"/v1/jobs/job_{new_id()}/events"), 404, "job_not_found")


async def test_a_redriven_job_goes_on_where_its_stream_ended(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    await engine.fail(job)
    await engine.move(job, JobState.CREATED, JobState.CANCELLED)
    answer = await acme.get(f"/v1/jobs/{job['id']}/events", last_event_id="3")
    assert [step["to_state"] for step in steps_in(answer.text)] == ["created", "cancelled"]


async def test_a_stream_follows_a_job_and_is_pinged(
    settings: Settings, owner_db: Database, engine: Engine
) -> None:
    app = create_app(settings)
    secret = await new_key(owner_db, "acme")
    with listening(app) as address:
        async with httpx2.AsyncClient(base_url=address, timeout=5) as client:
            caller = Caller(client, secret)
            job = await caller.submitted()
            async with client.stream(
                "GET", f"/v1/jobs/{job['id']}/events", headers=caller.headers()
            ) as answer:
                blocks = blocks_of(answer)
                assert await anext(blocks) == ["retry: 2000"]
                assert (await anext(blocks))[0] == "id: 1"
                assert await anext(blocks) == [": ping"]
                tenant = await TenantService(owner_db, KEYS).find_tenant("acme")
                assert app.state.services.streams.count(tenant) == 1
                await engine.complete(job, b"{}")
                seen: list[Body] = []
                while len(seen) < 2:
                    seen += steps_in("\n".join(await anext(blocks)))
                assert [step["to_state"] for step in seen] == ["processing", "completed"]
                # The client goes away: nothing is held open for it.
            await until(lambda: not app.state.services.streams.count(tenant))


@pytest.mark.parametrize("why", ["revoked", "old"])
async def test_a_stream_ends_with_its_key_and_with_its_time(
    settings: Settings, owner_db: Database, why: str
) -> None:
    if why == "old":
        settings = replace(
            settings, api=settings.api.model_copy(update={"stream_age": timedelta(milliseconds=120)})
        )
    tenants = TenantService(owner_db, KEYS)
    tenant = await tenants.create_tenant("acme")
    key = await tenants.create_key(tenant, "test")
    app = create_app(settings)
    async with serving(app) as client:
        caller = Caller(client, key.secret)
        job = await caller.submitted()
        reading = asyncio.create_task(caller.get(f"/v1/jobs/{job['id']}/events"))
        if why == "revoked":
            await until(lambda: app.state.services.streams.count(tenant) == 1)
            await asyncio.sleep(0.2)
            assert not reading.done()
            await KeyService(owner_db, KEYS).revoke(tenant, key.id)
        answer = await asyncio.wait_for(reading, 10)
    assert [step["seq"] for step in steps_in(answer.text)] == [1]
    assert ": ping\n\n" in answer.text


async def test_a_wait_is_an_open_stream(settings: Settings, owner_db: Database, engine: Engine) -> None:
    app = create_app(replace(settings, api=settings.api.model_copy(update={"streams_per_tenant": 1})))
    async with serving(app) as client:
        caller = Caller(client, await new_key(owner_db, "acme"))
        job = await caller.submitted("known")
        poll = asyncio.create_task(caller.get(f"/v1/jobs/{job['id']}", prefer="wait=20"))
        await until(lambda: bool(app.state.services.watcher._waiters))
        refused = await caller.get(f"/v1/jobs/{job['id']}", prefer="wait=20")
        assert assert_problem(refused, 429, "too_many_streams")["meta"] == {"cap": 1}
        body = {"kind": "digest", "input": {"text": "b"}}
        refused = await caller.post_json("/v1/jobs", body, idempotency_key="new", prefer="wait=20")
        assert_problem(refused, 429, "too_many_streams")
        assert [one["id"] for one in await caller.items("/v1/jobs")] == [job["id"]]
        assert (await caller.get(f"/v1/jobs/{job['id']}")).status_code == 200
        await engine.move(job, JobState.PROCESSING)
        assert (await asyncio.wait_for(poll, SOON_S)).status_code == 200


async def test_a_stream_whose_key_cannot_be_looked_at_ends_quietly(
    acme: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unable(*_: Any) -> None:
        raise JobsealError("no answer")

    monkeypatch.setattr(events, "authenticate", unable)
    job = await acme.submitted()
    answer = await asyncio.wait_for(acme.get(f"/v1/jobs/{job['id']}/events"), 2)
    assert (answer.status_code, [step["seq"] for step in steps_in(answer.text)]) == (200, [1])


async def test_an_absent_database_ends_no_wait_early(
    acme: Caller, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = watch_repository.versions
    failures = iter([True, True, False])

    async def shaky(*given: Any) -> Any:
        if next(failures, False):
            raise UnavailableError("away")
        return await versions(*given)

    monkeypatch.setattr(watch_repository, "versions", shaky)
    job = await acme.submitted()
    poll = asyncio.create_task(acme.get(f"/v1/jobs/{job['id']}", prefer="wait=20"))
    await asyncio.sleep(0.05)
    assert not poll.done()
    await engine.move(job, JobState.PROCESSING)
    assert (await asyncio.wait_for(poll, SOON_S)).json()["state"] == "processing"
