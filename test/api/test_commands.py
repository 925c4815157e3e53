"""Cancelling jobs and running them again."""

import asyncio
from datetime import timedelta

import pytest
from pydantic import SecretStr

from api.app import Settings, create_app
from relayer.jobs.canceller import LEASE, Canceller
from relayer.jobs.execution import Result
from relayer.jobs.failure import Stop
from relayer.jobs.handlers.base import Context, HandlerInput, Mode, Output
from relayer.jobs.handlers.policy import RetryPolicy, TimeLimits
from relayer.jobs.queue import JobQueue
from relayer.jobs.records import OpenAttempt
from relayer.jobs.transition import JobOutput
from relayer.model.clock import utc_now
from relayer.model.ids import new_id
from relayer.model.lifecycle import JobState
from relayer.settings import ReaperSettings, RedisSettings
from relayer.store import leases
from relayer.store.database import Database

from .conftest import Body, Caller, Engine, assert_problem, new_key, serving

OUTPUT = JobOutput(bytes(32), 4, "application/json", b"true")


class Cancellations:
    """The relayer's loop that carries cancellations out, a pass at a time."""

    def __init__(self, db: Database, valkey_url: str) -> None:
        self._db = db
        self._queue = JobQueue(RedisSettings(url=SecretStr(valkey_url)))

    async def run(self, force_after: timedelta = timedelta(hours=1)) -> int:
        async with self._db.transaction() as conn:
            epoch = await leases.acquire(conn, LEASE, "test", timedelta(hours=1))
        assert epoch is not None
        settings = ReaperSettings(force_cancel_after=force_after)
        return await Canceller(self._db, self._queue, settings, utc_now).run_pass(epoch)


@pytest.fixture
def cancellations(relayer_db: Database, valkey_url: str) -> Cancellations:
    return Cancellations(relayer_db, valkey_url)


async def test_a_waiting_job_is_cancelled_a_moment_later(
    acme: Caller, engine: Engine, cancellations: Cancellations
) -> None:
    job, other = await acme.submitted(), await acme.submitted()
    attempt = await engine.dispatch(job)
    asked = await acme.post(f"/v1/jobs/{job['id']}/cancel", b"")
    assert asked.status_code == 202
    assert asked.json()["state"] == "created"
    assert asked.json()["cancel_requested_at"].endswith("Z")
    assert "retry-after" in asked.headers
    assert await cancellations.run() == 1

    cancelled = (await acme.get(f"/v1/jobs/{job['id']}")).json()
    assert (cancelled["state"], cancelled["status_reason"]) == ("cancelled", "cancel_requested")
    assert cancelled["finished_at"] is not None
    # Asking again changes nothing; the attempt that lay in the queue is void.
    again = await acme.post(f"/v1/jobs/{job['id']}/cancel", b"")
    assert (again.status_code, again.json()) == (202, cancelled)
    assert "retry-after" not in again.headers
    assert await engine.execution().open([attempt]) == []
    assert (await acme.get(f"/v1/jobs/{other['id']}")).json()["state"] == "created"


async def test_asking_twice_keeps_the_first_time(acme: Caller) -> None:
    job = await acme.submitted()
    first, second = [(await acme.post(f"/v1/jobs/{job['id']}/cancel", b"")).json() for _ in range(2)]
    assert first == second


@pytest.mark.parametrize(
    ("path", "billed"),
    [
        ((JobState.PROCESSING, JobState.COMPLETED), True),
        ((JobState.PROCESSING, JobState.FAILED), False),
        ((JobState.PROCESSING, JobState.REJECTED), False),
    ],
)
async def test_a_job_that_has_ended_cannot_be_cancelled(
    acme: Caller, engine: Engine, path: tuple[JobState, ...], billed: bool
) -> None:
    job = await acme.submitted()
    await engine.move(job, *path, output=OUTPUT)
    answer = await acme.post(f"/v1/jobs/{job['id']}/cancel", b"")
    body = assert_problem(answer, 409, "job_already_ended")
    assert body["meta"] == {"state": path[-1], "billed": billed}
    assert (await acme.get(f"/v1/jobs/{job['id']}")).json()["cancel_requested_at"] is None


@pytest.mark.parametrize("cancel_first", [True, False])
@pytest.mark.parametrize("by_force", [True, False])
async def test_completion_and_cancellation_in_either_order(
    acme: Caller, engine: Engine, cancellations: Cancellations, cancel_first: bool, by_force: bool
) -> None:
    job = await acme.submitted()
    attempt = await engine.attempt(job)
    assert (await acme.post(f"/v1/jobs/{job['id']}/cancel", b"")).status_code == 202

    async def cancel() -> bool:
        if by_force:
            return await cancellations.run(timedelta(0)) == 1
        return attempt.id in await engine.execution().finish([Result(attempt, Stop.CANCELLED)])

    async def complete() -> bool:
        return attempt.id in await engine.execution().finish([Result(attempt, OUTPUT)])

    steps = [cancel, complete] if cancel_first else [complete, cancel]
    assert [await step() for step in steps] == [True, False]
    await assert_told(acme, engine, job, "cancelled" if cancel_first else "completed")


async def test_of_racing_completion_and_cancellation_exactly_one_wins(
    acme: Caller, engine: Engine, cancellations: Cancellations
) -> None:
    for number in range(12):
        job = await acme.submitted(str(number))
        attempt: OpenAttempt = await engine.attempt(job)
        assert (await acme.post(f"/v1/jobs/{job['id']}/cancel", b"")).status_code == 202
        cancelling = cancellations.run(timedelta(0))
        finishing = engine.execution().finish([Result(attempt, OUTPUT)])
        if number % 2:
            cancelled, finished = await asyncio.gather(cancelling, finishing)
        else:
            finished, cancelled = await asyncio.gather(finishing, cancelling)
        assert (cancelled == 1) != (finished == {attempt.id})
        await assert_told(acme, engine, job, "cancelled" if cancelled else "completed")


async def test_a_request_that_races_with_completion_is_told_the_truth(acme: Caller, engine: Engine) -> None:
    for number in range(12):
        job = await acme.submitted(str(number))
        attempt = await engine.attempt(job)
        asking = acme.post(f"/v1/jobs/{job['id']}/cancel", b"")
        finishing = engine.execution().finish([Result(attempt, OUTPUT)])
        if number % 2:
            answer, _ = await asyncio.gather(asking, finishing)
        else:
            _, answer = await asyncio.gather(finishing, asking)
        seen = (await acme.get(f"/v1/jobs/{job['id']}")).json()
        assert seen["state"] == "completed"
        # It was asked in time, or it was refused; never both, never neither.
        assert (answer.status_code == 202) == (seen["cancel_requested_at"] is not None)
        if answer.status_code != 202:
            assert assert_problem(answer, 409, "job_already_ended")["meta"]["billed"] is True


async def assert_told(acme: Caller, engine: Engine, job: Body, state: str) -> None:
    """Check that job, meter, history and the answer to another request agree."""
    seen = (await acme.get(f"/v1/jobs/{job['id']}")).json()
    assert seen["state"] == state
    assert (await acme.items(f"/v1/jobs/{job['id']}/history"))[-1]["to_state"] == state
    answer = await acme.post(f"/v1/jobs/{job['id']}/cancel", b"")
    if state == "cancelled":
        assert (answer.status_code, answer.json()) == (202, seen)
    else:
        meta = {"state": "completed", "billed": True}
        assert assert_problem(answer, 409, "job_already_ended")["meta"] == meta
    async with engine.db.transaction() as conn:
        cursor = await conn.execute(
            "SELECT count(*) FROM usage_events WHERE id LIKE %s", [f"{job['id'].removeprefix('job_')}:%"]
        )
        assert await cursor.fetchone() == (int(state == "completed"),)


@pytest.mark.parametrize("command", ["cancel", "rerun"])
async def test_anothers_job_cannot_be_touched_and_is_as_unknown_as_one_that_never_was(
    acme: Caller, rival: Caller, engine: Engine, command: str
) -> None:
    job = await acme.submitted()
    if command == "rerun":
        await engine.fail(job)
    before = (await acme.get(f"/v1/jobs/{job['id']}")).json()
    answers = []
    for text in (job["id"], f"job_{new_id()}", "job_x", job["id"].upper()):
        body = assert_problem(await rival.post(f"/v1/jobs/{text}/{command}", b""), 404, "job_not_found")
        answers.append(
            {name: value for name, value in body.items() if name not in {"request_id", "instance"}}
        )
    assert all(answer == answers[0] for answer in answers)
    assert (await acme.get(f"/v1/jobs/{job['id']}")).json() == before
    assert await rival.items("/v1/jobs") == []


OPTIONS: Body = {
    "metadata": {"order": "17"},
    "priority": "high",
    "retry": {"max_attempts": 2, "first_backoff_seconds": 1, "longest_backoff_seconds": 9, "codes": ["a"]},
    "limits": {"queue_seconds": 60, "run_seconds": 30, "total_seconds": 600},
}


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.FAILED, JobState.REJECTED])
async def test_a_job_that_has_ended_runs_again_as_a_new_one(
    acme: Caller, engine: Engine, state: JobState
) -> None:
    job = await acme.submitted(**OPTIONS)
    await engine.move(job, JobState.PROCESSING, state, output=OUTPUT)
    answer = await acme.post(f"/v1/jobs/{job['id']}/rerun", b"")
    assert answer.status_code == 202
    again = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{again['id']}"
    assert "idempotency-replayed" not in answer.headers
    assert (again["rerun_of"], again["state"]) == (job["id"], "created")
    assert again["ticket"] != job["ticket"]
    for same in ("kind", "input_hash", *OPTIONS):
        assert again[same] == job[same]
    assert (await acme.get(f"/v1/jobs/{job['id']}")).json()["state"] == state
    # Without a key each request is another run.
    assert (await acme.post(f"/v1/jobs/{job['id']}/rerun", b"")).json()["id"] != again["id"]


async def test_a_job_whose_input_is_gone_after_a_rebuild_cannot_run_again(
    acme: Caller, engine: Engine
) -> None:
    job = await acme.submitted()
    await engine.fail(job)
    async with engine.db.transaction() as conn:
        # As a rebuild leaves it: what was asked for is in no manifest.
        await conn.execute("UPDATE jobs SET input = NULL")
    answer = await acme.post(f"/v1/jobs/{job['id']}/rerun", b"")
    (error,) = assert_problem(answer, 422, "invalid_input")["errors"]
    assert (error["pointer"], error["code"]) == ("/input", "gone")
    assert len(await acme.items("/v1/jobs")) == 1


@pytest.mark.parametrize("path", [(), (JobState.PROCESSING,)])
async def test_a_job_that_has_not_ended_cannot_run_again(
    acme: Caller, engine: Engine, path: tuple[JobState, ...]
) -> None:
    job = await acme.submitted()
    await engine.move(job, *path)
    answer = await acme.post(f"/v1/jobs/{job['id']}/rerun", b"", idempotency_key="one")
    body = assert_problem(answer, 409, "job_not_ended")
    assert (body["meta"], body["retryable"]) == ({"state": path[-1] if path else "created"}, True)
    assert "retry-after" in answer.headers


async def test_racing_reruns_with_one_key_make_one_job(acme: Caller, engine: Engine) -> None:
    job, other = await acme.submitted("a"), await acme.submitted("b")
    await engine.fail(job)
    await engine.fail(other)

    async def rerun() -> tuple[str, bool]:
        while True:
            answer = await acme.post(f"/v1/jobs/{job['id']}/rerun", b"", idempotency_key="one")
            if answer.status_code != 503:  # too many wait for the test's few connections
                assert answer.status_code == 202, answer.text
                return answer.json()["id"], "idempotency-replayed" in answer.headers

    made = await asyncio.gather(*(rerun() for _ in range(20)))
    assert len({job_id for job_id, _ in made}) == 1
    assert len(await acme.items("/v1/jobs")) == 3
    answer = await acme.post(f"/v1/jobs/{other['id']}/rerun", b"", idempotency_key="one")
    assert_problem(answer, 422, "idempotency_key_reused")
    # The key of a submission is another key.
    assert (await acme.submit(b'{"kind":"digest","input":{"text":"c"}}', "one")).status_code == 202

    # What a key has made it still gives when a redrive has moved the first job on.
    await engine.move(job, JobState.CREATED)
    again = await acme.post(f"/v1/jobs/{job['id']}/rerun", b"", idempotency_key="one")
    assert (again.status_code, again.json()["id"]) == (202, made[0][0])
    assert again.headers["idempotency-replayed"] == "true"
    answer = await acme.post(f"/v1/jobs/{job['id']}/rerun", b"", idempotency_key="two")
    assert_problem(answer, 409, "job_not_ended")


class Nothing(HandlerInput):
    pass


class Shrinking:
    """A kind that allowed more time and more tries yesterday."""

    kind = "shrinking"
    mode = Mode.INLINE
    input_model = Nothing
    limits = TimeLimits()
    retry = RetryPolicy()

    async def run(self, job_input: Nothing, context: Context) -> Output:
        return Output.json(None)


async def test_a_job_runs_again_with_no_more_than_its_kind_allows_by_now(
    settings: Settings, owner_db: Database, engine: Engine
) -> None:
    handler = Shrinking()
    async with serving(create_app(settings, job_handlers={handler.kind: handler})) as client:
        acme = Caller(client, await new_key(owner_db, "acme"))
        value: Body = {"kind": "shrinking", "input": {}, "limits": {"queue_seconds": 5}}
        value["retry"] = {"max_attempts": 2, "codes": ["busy", "away"]}
        job = (await acme.post_json("/v1/jobs", value, idempotency_key="one")).json()
        assert job["limits"] == {"queue_seconds": 5, "run_seconds": 86400, "total_seconds": None}
        await engine.fail(job)
        handler.limits = TimeLimits(timedelta(seconds=9), timedelta(seconds=8), timedelta(seconds=7))
        handler.retry = RetryPolicy(max_attempts=1, codes=frozenset({"away"}))
        again = (await acme.post(f"/v1/jobs/{job['id']}/rerun", b"")).json()
        assert (again["retry"]["max_attempts"], again["retry"]["codes"]) == (1, ["away"])
        assert again["limits"] == {"queue_seconds": 5, "run_seconds": 8, "total_seconds": 7}
