"""Failed jobs, and giving them another turn."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest

from relayer.jobs import redriver
from relayer.jobs.execution import Result
from relayer.jobs.failure import Failure
from relayer.jobs.transition import JobOutput
from relayer.model.ids import from_public, new_id
from relayer.model.lifecycle import JobState
from relayer.store.database import Database
from relayer.tenants.scopes import Scope
from relayer.tenants.service import TenantService

from .conftest import KEYS, Body, Caller, Engine, assert_problem

REDRIVE = "/v1/dead-letters:redrive"
HOPELESS = Failure("hopeless", "it was not to be", retryable=False)


async def failed(caller: Caller, engine: Engine, *codes: str) -> list[Body]:
    """Make failed jobs, the first to fail first."""
    jobs = [await caller.submitted(f"{number} {code}") for number, code in enumerate(codes)]
    for job, code in zip(jobs, codes, strict=True):
        await engine.fail(job, code)
    return [(await caller.get(f"/v1/jobs/{job['id']}")).json() for job in jobs]


def ids(jobs: list[Body]) -> list[str]:
    return [job["id"] for job in jobs]


async def test_dead_letters_are_the_failed_jobs_last_to_fail_first(
    acme: Caller, rival: Caller, engine: Engine
) -> None:
    jobs = await failed(acme, engine, "a", "b", "a")
    await acme.submitted()
    await failed(rival, engine, "a")
    assert await acme.items("/v1/dead-letters") == jobs[::-1]

    async def found(query: str) -> list[str]:
        return ids(await acme.items(f"/v1/dead-letters?{query}"))

    assert await found("error_code=a") == ids([jobs[2], jobs[0]])
    assert await found("error_code=none") == await found("kind=none") == []
    assert await found("kind=digest&error_code=b") == ids([jobs[1]])
    middle = jobs[1]["finished_at"]
    assert await found(f"failed_from={middle}") == ids([jobs[2], jobs[1]])
    assert await found(f"failed_to={middle}") == ids([jobs[1], jobs[0]])
    local = datetime.fromisoformat(middle).astimezone(tz=None).isoformat()
    assert await found(f"failed_from={quote(local)}&failed_to={quote(local)}") == ids([jobs[1]])


async def test_pages_hold_every_letter_once_while_others_come_and_go(acme: Caller, engine: Engine) -> None:
    jobs = await failed(acme, engine, *(["a"] * 9))
    # Several of one moment are told apart by their ids.
    async with engine.db.transaction() as conn:
        await conn.execute("UPDATE jobs SET finished_at = (SELECT max(finished_at) FROM jobs)")
    seen: list[str] = []
    async for page in acme.pages("/v1/dead-letters?page_size=2"):
        seen += ids(page)
        await failed(acme, engine, "later")
        shown = next(job for job in jobs if job["id"] == seen[-1])
        await engine.move(shown, JobState.CREATED)
    assert seen == sorted(ids(jobs), reverse=True)


@pytest.mark.parametrize(
    "query",
    [
        *("kind=", "kind=%00", "error_code=", f"error_code={'x' * 65}", "failed=1", "page_size=-1"),
        *("failed_from=2030-01-31", "failed_to=1893456000", "failed_to=2030-01-31T12:00:00+01:00"),
    ],
)
async def test_a_bad_query_is_refused(acme: Caller, query: str) -> None:
    body = assert_problem(await acme.get(f"/v1/dead-letters?{query}"), 400, "invalid_parameter")
    assert [fault["parameter"] for fault in body["errors"]] == [query.partition("=")[0]]


async def test_a_token_fits_its_tenant_and_filters_only(acme: Caller, rival: Caller, engine: Engine) -> None:
    await failed(acme, engine, "a", "a")
    path = "/v1/dead-letters?page_size=1&error_code=a"
    token = (await acme.get(path)).json()["next_page_token"]
    assert (await acme.get(f"{path}&page_token={token}")).status_code == 200
    assert_problem(await rival.get(f"{path}&page_token={token}"), 400, "invalid_page_token")
    for other in ("error_code=b", "page_size=1", "error_code=a&failed_to=2030-01-31T12:00:00Z"):
        answer = await acme.get(f"/v1/dead-letters?{other}&page_token={token}")
        assert_problem(answer, 400, "invalid_page_token")


async def test_a_dry_run_counts_and_writes_nothing(
    acme: Caller, rival: Caller, engine: Engine, owner_db: Database
) -> None:
    await failed(acme, engine, "a", "a", "b")
    await failed(rival, engine, "a")
    asked = {"filter": {"error_code": "a"}, "dry_run": True}
    for _ in range(2):
        answer = await acme.post_json(REDRIVE, asked, idempotency_key="one")
        assert (answer.status_code, answer.json()) == (200, {"dry_run": True, "matched": 2})
    async with owner_db.transaction() as conn:
        assert await (await conn.execute("SELECT count(*) FROM redrives")).fetchone() == (0,)
        cursor = await conn.execute("SELECT count(*) FROM idempotency_keys WHERE key = 'one'")
        assert await cursor.fetchone() == (0,)
    assert await engine.redrive() == 0
    assert len(await acme.items("/v1/dead-letters")) == 3


async def test_what_runs_as_a_new_job_already_is_not_redriven(acme: Caller, engine: Engine) -> None:
    _, other = await failed(acme, engine, "ticket_spent", "a")
    answer = await acme.post_json(REDRIVE, {"filter": {"all": True}})
    assert (answer.status_code, answer.json()["matched"]) == (202, 1)
    assert await engine.redrive() == 1
    assert ids(await acme.items("/v1/dead-letters")) != [other["id"]]
    assert [one["error"]["code"] for one in await acme.items("/v1/dead-letters")] == ["ticket_spent"]


async def test_a_redriven_job_keeps_itself_and_gets_its_attempts_anew(
    acme: Caller, rival: Caller, engine: Engine, owner_db: Database
) -> None:
    job = await acme.submitted(retry={"max_attempts": 2})
    retryable = Failure("busy", "try later", retryable=True)
    for _ in range(2):
        await engine.execution().finish([Result(await engine.attempt(job), retryable)])
    dead = (await acme.get(f"/v1/jobs/{job['id']}")).json()
    assert (dead["state"], dead["status_reason"], dead["attempt"]) == ("failed", "busy", 2)
    (other,) = await failed(acme, engine, "other")
    (theirs,) = await failed(rival, engine, "busy")
    history = await acme.items(f"/v1/jobs/{job['id']}/history")

    answer = await acme.post_json(REDRIVE, {"filter": {"error_code": "busy"}})
    assert answer.status_code == 202
    redrive = answer.json()
    assert answer.headers["location"] == f"/v1/dead-letters/redrives/{redrive['id']}"
    assert (await acme.get(answer.headers["location"])).json() == redrive
    assert redrive["id"].startswith("rdr_")
    assert (redrive["state"], redrive["matched"], redrive["redriven"]) == ("open", 1, 0)
    assert (redrive["rate"], redrive["finished_at"]) == (50, None)
    assert redrive["filter"] == {
        "kind": None,
        "error_code": "busy",
        "failed_from": None,
        "failed_to": redrive["created_at"],
        "job_ids": None,
    }
    async with owner_db.transaction() as conn:
        cursor = await conn.execute(
            "SELECT k.id FROM api_keys k JOIN tenants t ON t.id = k.tenant_id WHERE t.name = 'acme'"
        )
        assert [f"key_{row[0]}" for row in await cursor.fetchall()] == [redrive["actor"]]

    assert await engine.redrive() == 1
    ended = (await acme.get(answer.headers["location"])).json()
    assert (ended["state"], ended["redriven"]) == ("finished", 1)
    assert ended["finished_at"] is not None
    assert await engine.redrive() == 0

    alive = (await acme.get(f"/v1/jobs/{job['id']}")).json()
    assert (alive["state"], alive["status_reason"]) == ("created", "redriven")
    assert (alive["finished_at"], alive["error"]) == (None, None)
    for same in ("id", "ticket", "input_hash", "created_at", "metadata", "retry", "limits"):
        assert alive[same] == dead[same]
    steps = await acme.items(f"/v1/jobs/{job['id']}/history")
    assert steps[:-1] == history
    assert (steps[-1]["actor"], steps[-1]["details"]) == (redrive["actor"], {"redrive": redrive["id"]})

    # Two more may fail, and the numbers go on.
    await engine.execution().finish([Result(await engine.attempt(job), retryable)])
    assert (await acme.get(f"/v1/jobs/{job['id']}")).json()["state"] == "created"
    await engine.execution().finish(
        [Result(await engine.attempt(job), JobOutput(bytes(32), 1, "text/plain", b"x"))]
    )
    attempts = await acme.items(f"/v1/jobs/{job['id']}/attempts")
    assert [(one["number"], one["state"]) for one in attempts] == [
        (1, "failed"),
        (2, "failed"),
        (3, "failed"),
        (4, "succeeded"),
    ]
    assert (await acme.get(f"/v1/jobs/{other['id']}")).json() == other
    assert (await rival.get(f"/v1/jobs/{theirs['id']}")).json() == theirs


async def test_the_rate_spreads_the_turns_and_a_later_failure_is_left_alone(
    acme: Caller, engine: Engine
) -> None:
    jobs = await failed(acme, engine, *(["a"] * 6))
    redrive = (await acme.post_json(REDRIVE, {"filter": {"all": True}, "rate": 2})).json()
    (later,) = await failed(acme, engine, "a")
    assert await engine.redrive() == 6
    alive = [(await acme.get(f"/v1/jobs/{job['id']}")).json() for job in jobs]
    times = [datetime.fromisoformat(job["run_at"]) for job in alive]
    assert {after - before for before, after in pairwise(times)} == {timedelta(seconds=0.5)}
    assert ids(await acme.items("/v1/dead-letters")) == [later["id"]]
    assert (await acme.get(f"/v1/dead-letters/redrives/{redrive['id']}")).json()["redriven"] == 6
    # What fails again after it was redriven is a matter of the next redrive.
    await engine.execution().finish([Result(await engine.attempt(jobs[0]), HOPELESS)])
    assert await engine.redrive() == 0
    assert ids(await acme.items("/v1/dead-letters")) == [jobs[0]["id"], later["id"]]


async def test_a_letter_waits_only_shortly_before_its_turn(
    acme: Caller, engine: Engine, owner_db: Database
) -> None:
    jobs = await failed(acme, engine, *(["a"] * 20))
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET waiting_cap = 20")
    path = (await acme.post_json(REDRIVE, {"filter": {"all": True}, "rate": 1})).headers["location"]
    asked_at = datetime.fromisoformat((await acme.get(path)).json()["created_at"])
    assert await engine.redrive() == 5
    assert await engine.redrive() == 0
    await acme.submitted("another")
    for number in range(1, 20):
        await engine.redrive(timedelta(seconds=number))
    redrive = (await acme.get(path)).json()
    assert (redrive["state"], redrive["redriven"]) == ("finished", 20)
    alive = [(await acme.get(f"/v1/jobs/{job['id']}")).json() for job in jobs]
    times = [datetime.fromisoformat(job["run_at"]) for job in alive]
    assert {after - before for before, after in pairwise(times)} == {timedelta(seconds=1)}
    assert times[0] >= asked_at


async def test_tenants_take_turns_and_letters_that_were_taken_are_not_looked_at_again(
    acme: Caller, rival: Caller, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redriver, "_LIMIT", 2)
    monkeypatch.setattr(redriver, "_TURNS", 2)
    paths = []
    for caller, count in ((acme, 5), (rival, 1)):
        await failed(caller, engine, *(["a"] * count))
        answer = await caller.post_json(REDRIVE, {"filter": {"all": True}, "rate": 1000})
        paths.append(answer.headers["location"])

    async def progress() -> list[tuple[str, int]]:
        bodies = [(await caller.get(path)).json() for caller, path in zip((acme, rival), paths, strict=True)]
        return [(body["state"], body["redriven"]) for body in bodies]

    assert await engine.redrive() == 3
    assert await progress() == [("open", 2), ("finished", 1)]
    # As if they had failed long ago: a look that begins anew would find them.
    async with engine.db.transaction() as conn:
        await conn.execute(
            """UPDATE jobs SET state = 'failed', error = '{}', finished_at = '2001-01-01' WHERE state = 'created'"""
        )
    assert await engine.redrive() == 3
    assert await progress() == [("finished", 5), ("finished", 1)]
    assert len(await acme.items("/v1/dead-letters")) == 2


async def test_a_filter_takes_what_all_of_it_names(acme: Caller, rival: Caller, engine: Engine) -> None:
    jobs = await failed(acme, engine, "a", "b", "a")
    (theirs,) = await failed(rival, engine, "a")
    waiting = await acme.submitted()

    async def matched(**wanted: Any) -> int:
        answer = await acme.post_json(REDRIVE, {"filter": wanted, "dry_run": True})
        assert answer.status_code == 200, answer.text
        count: int = answer.json()["matched"]
        return count

    named = [jobs[0]["id"], jobs[0]["id"], theirs["id"], waiting["id"], f"job_{new_id()}"]
    assert await matched(all=True) == await matched(kind="digest") == 3
    assert await matched(kind="none") == 0
    assert await matched(job_ids=named) == 1
    assert await matched(job_ids=named, error_code="b") == 0
    assert await matched(failed_from=jobs[1]["finished_at"], error_code="a") == 1
    assert await matched(failed_to="2001-01-01T00:00:00+14:00") == 0
    assert await matched(failed_to="9999-01-01T00:00:00Z", all=False) == 3

    answer = await acme.post_json(REDRIVE, {"filter": {"job_ids": named}})
    assert sorted(answer.json()["filter"]["job_ids"]) == sorted(set(named))
    assert await engine.redrive() == 1
    assert (await rival.get(f"/v1/jobs/{theirs['id']}")).json() == theirs
    assert ids(await acme.items("/v1/dead-letters")) == ids([jobs[2], jobs[1]])


@pytest.mark.parametrize(
    ("value", "pointer", "code"),
    [
        ([], "", "model_type"),
        ({}, "/filter", "missing"),
        ({"filter": None}, "/filter", "model_type"),
        ({"filter": {}}, "/filter", "empty_filter"),
        ({"filter": {"all": False}}, "/filter", "empty_filter"),
        ({"filter": {"kind": None, "job_ids": None}}, "/filter", "empty_filter"),
        ({"filter": {"all": True, "kind": "digest"}}, "/filter", "contradiction"),
        ({"filter": {"all": "yes"}}, "/filter/all", "bool_type"),
        ({"filter": {"state": "failed"}}, "/filter/state", "extra_forbidden"),
        ({"filter": {"kind": ""}}, "/filter/kind", "string_too_short"),
        ({"filter": {"kind": "\0"}}, "/filter/kind", "value_error"),
        ({"filter": {"error_code": "x" * 65}}, "/filter/error_code", "string_too_long"),
        ({"filter": {"failed_from": "yesterday"}}, "/filter/failed_from", "rfc_3339"),
        ({"filter": {"failed_to": 1893456000}}, "/filter/failed_to", "rfc_3339"),
        ({"filter": {"job_ids": []}}, "/filter/job_ids", "too_short"),
        ({"filter": {"job_ids": [f"job_{new_id()}"] * 1001}}, "/filter/job_ids", "too_long"),
        ({"filter": {"job_ids": [f"job_{new_id()}", "job_x"]}}, "/filter/job_ids/1", "job_id"),
        ({"filter": {"job_ids": [7]}}, "/filter/job_ids/0", "string_type"),
        ({"filter": {"all": True}, "rate": 0}, "/rate", "greater_than_equal"),
        ({"filter": {"all": True}, "rate": 1001}, "/rate", "less_than_equal"),
        ({"filter": {"all": True}, "rate": 1.5}, "/rate", "int_type"),
        ({"filter": {"all": True}, "dry_run": 1}, "/dry_run", "bool_type"),
        ({"filter": {"all": True}, "all": True}, "/all", "extra_forbidden"),
    ],
)
async def test_a_redrive_that_does_not_fit_is_refused_at_its_place(
    acme: Caller, engine: Engine, value: Any, pointer: str, code: str
) -> None:
    await failed(acme, engine, "a")
    body = assert_problem(await acme.post_json(REDRIVE, value), 422, "invalid_body")
    assert [(fault["pointer"], fault["code"]) for fault in body["errors"]] == [(pointer, code)]
    assert await engine.redrive() == 0


async def test_racing_redrives_with_one_key_ask_once(
    acme: Caller, rival: Caller, engine: Engine, owner_db: Database
) -> None:
    await failed(acme, engine, "a")
    asked = {"filter": {"all": True}, "rate": 7}

    async def ask(caller: Caller) -> tuple[str, bool]:
        while True:
            answer = await caller.post_json(REDRIVE, asked, idempotency_key="one")
            if answer.status_code != 503:  # too many wait for the test's few connections
                assert answer.status_code == 202, answer.text
                return answer.json()["id"], "idempotency-replayed" in answer.headers

    made = await asyncio.gather(*(ask(acme) for _ in range(20)))
    assert len({redrive_id for redrive_id, _ in made}) == 1
    assert sum(not replayed for _, replayed in made) == 1
    assert (await ask(rival))[0] != made[0][0]
    await engine.redrive()
    again = await acme.post_json(REDRIVE, asked, idempotency_key="one")
    assert (again.json()["id"], again.json()["state"]) == (made[0][0], "finished")
    other = await acme.post_json(REDRIVE, asked | {"rate": 8}, idempotency_key="one")
    assert_problem(other, 422, "idempotency_key_reused")
    assert (await acme.post_json(REDRIVE, asked)).json()["id"] != made[0][0]
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE idempotency_keys SET expires_at = %s", [datetime(2001, 1, 1, tzinfo=UTC)])
    assert (await ask(acme))[0] != made[0][0]


async def test_anothers_redrive_is_as_unknown_as_one_that_never_was(acme: Caller, rival: Caller) -> None:
    mine = (await acme.post_json(REDRIVE, {"filter": {"all": True}})).json()["id"]
    assert (await acme.get(f"/v1/dead-letters/redrives/{mine}")).status_code == 200
    answers = []
    for text in (mine, f"rdr_{new_id()}", "rdr_x", mine.upper(), mine.replace("rdr", "job")):
        answer = await rival.get(f"/v1/dead-letters/redrives/{text}")
        body = assert_problem(answer, 404, "redrive_not_found")
        answers.append(
            {name: value for name, value in body.items() if name not in {"request_id", "instance"}}
        )
    assert all(answer == answers[0] for answer in answers)


async def test_a_redrive_names_the_key_that_asked(acme: Caller, engine: Engine, owner_db: Database) -> None:
    await failed(acme, engine, "a")
    async with owner_db.transaction() as conn:
        row = await (await conn.execute("SELECT id FROM tenants WHERE name = 'acme'")).fetchone()
    assert row is not None
    tenant: UUID = row[0]
    key = await TenantService(owner_db, KEYS).create_key(tenant, "narrow", [Scope.JOBS_REDRIVE])
    narrow = Caller(acme.client, key.secret)
    answer = await narrow.post_json(REDRIVE, {"filter": {"all": True}})
    assert answer.json()["actor"] == f"key_{key.id}"
    assert_problem(await narrow.get("/v1/dead-letters"), 403, "insufficient_scope")
    assert from_public("rdr", answer.json()["id"]) is not None
