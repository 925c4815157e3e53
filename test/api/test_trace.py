"""A job's steps and attempts."""

from relayer.jobs.execution import Result
from relayer.jobs.failure import Failure
from relayer.jobs.transition import JobOutput
from relayer.model.lifecycle import JobState

from .conftest import Caller, Engine, assert_problem


async def test_the_history_has_every_step(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    await engine.move(
        job, JobState.PROCESSING, JobState.CREATED, JobState.PROCESSING, JobState.FAILED, JobState.CREATED
    )
    path = f"/v1/jobs/{job['id']}/history"
    steps = await acme.items(path)
    states = ["created", "processing", "created", "processing", "failed", "created"]
    assert [step["to_state"] for step in steps] == states
    assert [step["from_state"] for step in steps] == [None, *states[:-1]]
    assert [step["seq"] for step in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[0] == {
        "seq": 1,
        "from_state": None,
        "to_state": "created",
        "actor": "api",
        "reason": "queued",
        "details": None,
        "occurred_at": job["created_at"],
    }
    assert (await acme.get(f"/v1/jobs/{job['id']}")).json()["state_version"] == 6
    pages = [page async for page in acme.pages(f"{path}?page_size=4")]
    assert [len(page) for page in pages] == [4, 2]
    assert [step for page in pages for step in page] == steps


async def test_pages_of_the_history_go_on_while_the_job_does(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    await engine.move(job, JobState.PROCESSING, JobState.CREATED)
    seen: list[int] = []
    async for page in acme.pages(f"/v1/jobs/{job['id']}/history?page_size=2"):
        seen += [step["seq"] for step in page]
        if len(seen) < 9:
            await engine.move(job, JobState.PROCESSING, JobState.CREATED)
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) == 11


async def test_the_attempts_say_how_each_ended(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    path = f"/v1/jobs/{job['id']}/attempts"
    assert (await acme.get(path)).json() == {"data": []}
    first = await engine.attempt(job)
    async with engine.db.transaction() as conn:
        await conn.execute("UPDATE attempts SET progress = '{\"percent\": 50}'")
    running = (await acme.get(f"/v1/jobs/{job['id']}")).json()
    assert (running["attempt"], running["progress"]) == (1, {"percent": 50})
    failure = Failure("busy", "try later", retryable=True)
    await engine.execution().finish([Result(first, failure, "last words\n")])
    second = await engine.attempt(job)
    await engine.execution().finish([Result(second, JobOutput(bytes(32), 1, "text/plain", b"x"))])

    attempts = await acme.items(path)
    assert [(one["number"], one["state"], one["mode"]) for one in attempts] == [
        (1, "failed", "inline"),
        (2, "succeeded", "inline"),
    ]
    assert attempts[0]["error"] == {
        "code": "busy",
        "message": "try later",
        "retryable": True,
        "attempt": 1,
    }
    assert (attempts[0]["log_tail"], attempts[0]["progress"]) == ("last words\n", {"percent": 50})
    for one in attempts:
        assert one["dispatched_at"] <= one["started_at"] <= one["finished_at"]
        assert one["finished_at"].endswith("Z")
    pages = [page async for page in acme.pages(f"{path}?page_size=1")]
    assert pages == [[attempts[0]], [attempts[1]]]
    assert (await acme.get(f"/v1/jobs/{job['id']}")).json()["attempt"] == 2


async def test_progress_changes_the_etag(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    await engine.attempt(job)
    path = f"/v1/jobs/{job['id']}"
    tag = (await acme.get(path)).headers["etag"]
    assert (await acme.get(path, if_none_match=tag)).status_code == 304
    async with engine.db.transaction() as conn:
        await conn.execute("UPDATE attempts SET progress = '{\"percent\": 50}'")
    changed = await acme.get(path, if_none_match=tag)
    assert changed.json()["progress"] == {"percent": 50}
    assert changed.headers["retry-after"] == "1"


async def test_a_token_fits_its_own_list_only(acme: Caller, engine: Engine) -> None:
    job, other = await acme.submitted("a"), await acme.submitted("b")
    for one in (job, other):
        for _ in range(2):
            await engine.execution().finish(
                [Result(await engine.attempt(one), Failure("busy", "try later", retryable=True))]
            )
    history = f"/v1/jobs/{job['id']}/history?page_size=1&page_token="
    token = (await acme.get(history[: -len("&page_token=")])).json()["next_page_token"]
    assert (await acme.get(history + token)).status_code == 200
    for path in (
        f"/v1/jobs/{other['id']}/history?page_token=",
        f"/v1/jobs/{job['id']}/attempts?page_token=",
        "/v1/jobs?page_token=",
        "/v1/dead-letters?page_token=",
    ):
        assert_problem(await acme.get(path + token), 400, "invalid_page_token")
    body = assert_problem(await acme.get(f"/v1/jobs/{job['id']}/history?seq=1"), 400, "invalid_parameter")
    assert body["errors"][0]["parameter"] == "seq"
