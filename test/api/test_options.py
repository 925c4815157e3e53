"""How a job is to be run: what is accepted, what it comes to, and what is refused."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.app import Settings, create_app
from relayer.jobs.handlers.base import Context, HandlerInput, Mode, Output
from relayer.jobs.handlers.policy import RetryPolicy, TimeLimits
from relayer.store.database import Database

from .conftest import Body, Caller, assert_problem, new_key, serving


class Nothing(HandlerInput):
    pass


class Hasty:
    """A kind that allows little time."""

    kind = "hasty"
    mode = Mode.INLINE
    input_model = Nothing
    retry = RetryPolicy(4, timedelta(seconds=3), timedelta(seconds=30), frozenset({"busy", "away"}))
    limits = TimeLimits(timedelta(seconds=60), timedelta(seconds=10), timedelta(seconds=100))

    async def run(self, job_input: Nothing, context: Context) -> Output:
        return Output.json(None)


@pytest.fixture
async def hasty(settings: Settings, owner_db: Database) -> AsyncIterator[Caller]:
    async with serving(create_app(settings, job_handlers={"hasty": Hasty()})) as client:
        yield Caller(client, await new_key(owner_db, "acme"))


async def test_a_job_is_run_as_its_kind_has_it(acme: Caller) -> None:
    job = await acme.submitted()
    assert job["retry"] == {
        "max_attempts": 3,
        "first_backoff_seconds": 2,
        "longest_backoff_seconds": 300,
        "codes": None,
    }
    assert job["limits"] == {"queue_seconds": None, "run_seconds": 86400, "total_seconds": None}
    assert (job["priority"], job["attempt"], job["max_attempts"]) == ("normal", 0, 3)
    assert job["run_at"] == job["created_at"]
    for absent in ("progress", "rerun_of", "cancel_requested_at", "finished_at"):
        assert job[absent] is None


async def test_what_is_asked_for_is_what_the_job_says(hasty: Caller) -> None:
    given = {
        "priority": "high",
        "retry": {"max_attempts": 2, "first_backoff_seconds": 0.5, "codes": ["busy", "busy"]},
        "limits": {"run_seconds": 1.25, "total_seconds": 100},
    }
    answer = await hasty.post_json("/v1/jobs", {"kind": "hasty", "input": {}} | given, idempotency_key="one")
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["priority"] == "high"
    assert job["retry"] == {
        "max_attempts": 2,
        "first_backoff_seconds": 0.5,
        "longest_backoff_seconds": 30,
        "codes": ["busy"],
    }
    assert job["limits"] == {"queue_seconds": 60, "run_seconds": 1.25, "total_seconds": 100}
    assert (await hasty.get(f"/v1/jobs/{job['id']}")).json() == job | {"queue_position_hint": 1}


@pytest.mark.parametrize(
    "text",
    [
        "2049-01-31T12:00:00Z",
        "2049-01-31t12:00:00z",
        "2049-01-31T13:30:00+01:30",
        "2049-01-31T12:00:00.000000999-00:00",
    ],
)
async def test_a_job_may_be_scheduled(settings: Settings, owner_db: Database, text: str) -> None:
    then = datetime(2049, 1, 31, 12, tzinfo=UTC)

    def clock() -> datetime:
        return then - timedelta(days=365)

    async with serving(create_app(settings, clock=clock)) as client:
        caller = Caller(client, await new_key(owner_db, "acme", clock))
        job = await caller.submitted(run_at=text)
    assert job["run_at"] == "2049-01-31T12:00:00Z"
    assert (job["state"], job["status_reason"]) == ("created", "scheduled")


@pytest.mark.parametrize("text", ["2001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
async def test_a_time_that_is_past_means_now(acme: Caller, text: str) -> None:
    job = await acme.submitted(run_at=text)
    assert (job["run_at"], job["status_reason"]) == (job["created_at"], "queued")


NO_TIMES = [
    *("2030-01-31T12:00:00", "2030-01-31 12:00:00Z", "2030-01-31", "12:00:00Z", "1893456000", "", "now"),
    *("2030-02-30T12:00:00Z", "2030-01-31T24:00:00Z", "2030-01-31T12:00:60Z", "2030-01-31T12:00:00+24:00"),
    *(
        "0000-01-31T12:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "\uff12030-01-31T12:00:00Z",
    ),
]


@pytest.mark.parametrize(
    ("options", "pointer", "code"),
    [
        *(pytest.param({"run_at": text}, "/run_at", "rfc_3339", id=f"run_at={text}") for text in NO_TIMES),
        ({"run_at": 1893456000}, "/run_at", "rfc_3339"),
        ({"priority": "urgent"}, "/priority", "literal_error"),
        ({"priority": 0}, "/priority", "literal_error"),
        ({"priority": None}, "/priority", "literal_error"),
        ({"retry": 3}, "/retry", "model_type"),
        ({"retry": {"attempts": 3}}, "/retry/attempts", "extra_forbidden"),
        ({"retry": {"max_attempts": 0}}, "/retry/max_attempts", "greater_than_equal"),
        ({"retry": {"max_attempts": 21}}, "/retry/max_attempts", "less_than_equal"),
        ({"retry": {"max_attempts": 1.5}}, "/retry/max_attempts", "int_type"),
        ({"retry": {"max_attempts": True}}, "/retry/max_attempts", "int_type"),
        ({"retry": {"first_backoff_seconds": 0.09}}, "/retry/first_backoff_seconds", "greater_than_equal"),
        ({"retry": {"first_backoff_seconds": 86401}}, "/retry/first_backoff_seconds", "less_than_equal"),
        ({"retry": {"first_backoff_seconds": "2"}}, "/retry/first_backoff_seconds", "float_type"),
        ({"retry": {"longest_backoff_seconds": 0}}, "/retry/longest_backoff_seconds", "greater_than_equal"),
        ({"retry": {"longest_backoff_seconds": 86401}}, "/retry/longest_backoff_seconds", "less_than_equal"),
        ({"retry": {"codes": "busy"}}, "/retry/codes", "list_type"),
        ({"retry": {"codes": [str(n) for n in range(21)]}}, "/retry/codes", "too_long"),
        ({"retry": {"codes": ["busy", ""]}}, "/retry/codes/1", "string_too_short"),
        ({"retry": {"codes": ["x" * 65]}}, "/retry/codes/0", "string_too_long"),
        ({"retry": {"codes": ["\0"]}}, "/retry/codes/0", "value_error"),
        ({"retry": {"codes": [7]}}, "/retry/codes/0", "string_type"),
        ({"limits": []}, "/limits", "model_type"),
        ({"limits": {"seconds": 3}}, "/limits/seconds", "extra_forbidden"),
        *(
            ({"limits": {name: value}}, f"/limits/{name}", code)
            for name in ("queue_seconds", "run_seconds", "total_seconds")
            for value, code in (
                (0, "greater_than_equal"),
                (-1, "greater_than_equal"),
                (31536001, "less_than_equal"),
                ("1", "float_type"),
                (False, "float_type"),
            )
        ),
    ],
)
async def test_an_option_that_does_not_fit_is_refused_at_its_place(
    acme: Caller, options: Body, pointer: str, code: str
) -> None:
    value = {"kind": "digest", "input": {"text": "a"}} | options
    body = assert_problem(await acme.post_json("/v1/jobs", value, idempotency_key="one"), 422, "invalid_body")
    assert [(fault["pointer"], fault["code"]) for fault in body["errors"]] == [(pointer, code)]
    assert (await acme.get("/v1/jobs")).json() == {"data": []}


@pytest.mark.parametrize(
    ("options", "pointer", "code"),
    [
        ({"limits": {"queue_seconds": 60.5}}, "/limits/queue_seconds", "too_large"),
        ({"limits": {"run_seconds": 11}}, "/limits/run_seconds", "too_large"),
        ({"limits": {"total_seconds": 101}}, "/limits/total_seconds", "too_large"),
        ({"retry": {"max_attempts": 5}}, "/retry/max_attempts", "too_large"),
        ({"retry": {"codes": ["busy", "broken"]}}, "/retry/codes/1", "not_allowed"),
        ({"retry": {"first_backoff_seconds": 31}}, "/retry/longest_backoff_seconds", "too_small"),
        ({"retry": {"longest_backoff_seconds": 2}}, "/retry/longest_backoff_seconds", "too_small"),
        ({"run_at": "9999-12-31T23:59:59Z"}, "/run_at", "too_far"),
    ],
)
async def test_an_option_that_is_more_than_the_kind_allows_is_refused_at_its_place(
    hasty: Caller, options: Body, pointer: str, code: str
) -> None:
    value: Any = {"kind": "hasty", "input": {}} | options
    answer = await hasty.post_json("/v1/jobs", value, idempotency_key="one")
    body = assert_problem(answer, 422, "invalid_input")
    assert [(fault["pointer"], fault["code"]) for fault in body["errors"]] == [(pointer, code)]


@pytest.mark.parametrize(
    ("retry", "sentence"),
    [
        ({"max_attempts": 20}, "the kind 'hasty' allows 4 at most"),
        ({"codes": ["broken"]}, "the kind 'hasty' allows another try only after away, busy"),
    ],
)
async def test_who_asks_for_more_tries_is_told_what_the_kind_allows(
    hasty: Caller, retry: Body, sentence: str
) -> None:
    value: Any = {"kind": "hasty", "input": {}, "retry": retry}
    body = assert_problem(
        await hasty.post_json("/v1/jobs", value, idempotency_key="one"), 422, "invalid_input"
    )
    assert [fault["detail"] for fault in body["errors"]] == [sentence]


async def test_a_tenant_with_a_full_waiting_room_is_refused_and_its_known_keys_are_not(
    acme: Caller, rival: Caller, owner_db: Database
) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET waiting_cap = 2")
    content = b'{"kind":"digest","input":{"text":"a"}}'
    first = (await acme.submit(content, "one")).json()
    assert (await acme.submit(content, "two")).status_code == 202
    answer = await acme.submit(content, "three")
    body = assert_problem(answer, 429, "waiting_cap_reached")
    assert (body["meta"], body["retryable"]) == ({"cap": 2}, True)
    assert int(answer.headers["retry-after"]) >= 1
    again = await acme.submit(content, "one")
    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    assert again.headers["idempotency-replayed"] == "true"
    assert (await rival.submit(content, "three")).status_code == 202

    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET waiting_cap = 3")
    # A full room is looked at again soon; the refused key is still free.
    while (admitted := await acme.submit(content, "three")).status_code == 429:
        pass
    assert admitted.status_code == 202
    assert "idempotency-replayed" not in admitted.headers
