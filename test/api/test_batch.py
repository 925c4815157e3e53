"""Many jobs in one request."""

import asyncio
import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from api.app import Settings, create_app
from relayer.settings import ApiSettings
from relayer.store.database import Database

from .conftest import Body, Caller, assert_problem, new_key, serving


def item(key: str, text: str = "a", **rest: Any) -> Body:
    return {"idempotency_key": key, "kind": "digest", "input": {"text": text}} | rest


async def submit_batch(caller: Caller, items: list[Any]) -> list[Body]:
    answer = await caller.post_json("/v1/jobs:batch", {"jobs": items})
    assert answer.status_code == 207, answer.text
    results: list[Body] = answer.json()["results"]
    assert len(results) == len(items)
    return results


def refused(result: Body, status: int, code: str, *pointers: str) -> Body:
    """Check that a result is a whole problem document; give it."""
    assert result.keys() == {"status", "problem"}
    problem: Body = result["problem"]
    assert (result["status"], problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"urn:jobseal:problem:{code}"
    assert problem["instance"] == "/v1/jobs:batch"
    assert problem["request_id"].startswith("req_")
    assert [fault["pointer"] for fault in problem["errors"]] == list(pointers)
    return problem


async def test_every_item_has_the_job_that_a_request_of_its_own_would_have(acme: Caller) -> None:
    items = [item(f"key-{n}", f"text {n}", priority=("high", "normal")[n % 2]) for n in range(5)]
    results = await submit_batch(acme, items)
    jobs = [result["job"] for result in results]
    assert [(result["status"], result["replayed"]) for result in results] == [(202, False)] * 5
    assert [job["priority"] for job in jobs] == ["high", "normal"] * 2 + ["high"]
    assert len({job["ticket"] for job in jobs}) == 5
    assert await acme.items("/v1/jobs") == sorted(jobs, key=lambda job: job["id"], reverse=True)
    for sent, job in zip(items, jobs, strict=True):
        alone = {name: value for name, value in sent.items() if name != "idempotency_key"}
        again = await acme.post_json("/v1/jobs", alone, idempotency_key=sent["idempotency_key"])
        assert again.headers["idempotency-replayed"] == "true"
        assert again.json() == job


async def test_a_key_is_the_same_key_in_a_batch_and_alone(acme: Caller) -> None:
    alone = (await acme.submit(b'{"kind":"digest","input":{"text":"a"}}', "one")).json()
    results = await submit_batch(acme, [item("two"), item("one"), item("one", "b"), item("two")])
    assert [result.get("replayed") for result in results] == [False, True, None, True]
    assert results[1]["job"] == alone
    assert results[3]["job"] == results[0]["job"]
    assert refused(results[2], 422, "idempotency_key_reused")["meta"] == {"idempotency_key": "one"}


async def test_of_two_items_with_one_key_the_first_counts(acme: Caller) -> None:
    results = await submit_batch(acme, [item("one", "z", priority="normal"), item("one", priority="high")])
    assert results[0]["job"]["priority"] == "normal"
    refused(results[1], 422, "idempotency_key_reused")
    results = await submit_batch(acme, [item("two", kind="none"), item("two")])
    refused(results[0], 422, "unknown_kind", "/kind")
    assert results[1]["status"] == 202


BAD_ITEMS: list[tuple[Any, int, str, list[str]]] = [
    ({"kind": "digest", "input": {"text": "a"}}, 400, "idempotency_key_required", ["/idempotency_key"]),
    (item("k", idempotency_key=None), 400, "idempotency_key_required", ["/idempotency_key"]),
    (item("k", idempotency_key=7), 400, "invalid_idempotency_key", ["/idempotency_key"]),
    (item(""), 400, "invalid_idempotency_key", ["/idempotency_key"]),
    (item("ü"), 400, "invalid_idempotency_key", ["/idempotency_key"]),
    (item("x" * 256), 400, "invalid_idempotency_key", ["/idempotency_key"]),
    (item("k", kind="none"), 422, "unknown_kind", ["/kind"]),
    (item("k", input={"text": 7}), 422, "invalid_input", ["/input/text"]),
    (item("k", input={"blob": f"sha256:{'0' * 64}"}), 422, "unknown_blob", ["/input/blob"]),
    (item("k", retry={"max_attempts": 0}), 422, "invalid_body", ["/retry/max_attempts"]),
    (item("k", run_at="soon"), 422, "invalid_body", ["/run_at"]),
    (item("k", limits={"run_seconds": 86401}), 422, "invalid_input", ["/limits/run_seconds"]),
    (item("k", more=1), 422, "invalid_body", ["/more"]),
    (item("k", "x" * 256 * 1024), 413, "body_too_large", []),
    ([], 422, "invalid_body", [""]),
    ("job", 422, "invalid_body", [""]),
    (None, 422, "invalid_body", [""]),
]


async def test_five_hundred_mixed_items_have_each_its_own_outcome(acme: Caller) -> None:
    bad = [BAD_ITEMS[n % len(BAD_ITEMS)] for n in range(250)]
    items = [part for n, (sent, *_) in enumerate(bad) for part in (item(f"good-{n}", str(n)), sent)]
    # As text, because no JSON writer makes such an item.
    items[7] = "FLAW 1"
    items[9] = "FLAW 2"
    text = json.dumps({"jobs": items})
    text = text.replace('"FLAW 1"', '{"idempotency_key":"k","kind":"digest","input":{"n":9007199254740992}}')
    text = text.replace('"FLAW 2"', '{"idempotency_key":"k","kind":"digest","kind":"digest","input":{}}')
    results: list[Body] = []
    for is_again in (False, True):
        answer = await acme.post("/v1/jobs:batch", text.encode(), content_type="application/json")
        assert answer.status_code == 207
        results = answer.json()["results"]
        assert len(results) == 500
        for n, result in enumerate(results[::2]):
            assert (result["status"], result["replayed"]) == (202, is_again), (n, result)
        refused(results[7], 400, "invalid_json", "/input/n")
        refused(results[9], 400, "invalid_json", "/kind")
        for n, (result, (_, status, code, pointers)) in enumerate(zip(results[1::2], bad, strict=True)):
            if n not in {3, 4}:
                refused(result, status, code, *pointers)
    assert len({result["job"]["id"] for result in results[::2]}) == 250
    assert len(await acme.items("/v1/jobs?page_size=200")) == 250


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ([], ""),
        ({}, "/jobs"),
        ({"jobs": {}}, "/jobs"),
        ({"jobs": []}, "/jobs"),
        ({"jobs": [item(str(n)) for n in range(501)]}, "/jobs"),
        ({"jobs": [item("one")], "more": 1}, "/more"),
    ],
)
async def test_a_body_that_is_no_batch_is_refused_whole(acme: Caller, value: Any, pointer: str) -> None:
    body = assert_problem(await acme.post_json("/v1/jobs:batch", value), 422, "invalid_body")
    assert [fault["pointer"] for fault in body["errors"]] == [pointer]
    assert await acme.items("/v1/jobs") == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b'{"jobs":[1,]}',
        b'{"jobs":[1],"jobs":[2]}',
        b'{"jobs":[1],"n":9007199254740992}',
        b'{"jobs":[' + b"[" * 65 + b"]" * 65 + b"]}",
    ],
)
async def test_text_that_does_not_parse_is_refused_whole(acme: Caller, text: bytes) -> None:
    answer = await acme.post("/v1/jobs:batch", text, content_type="application/json")
    assert_problem(answer, 400, "invalid_json")
    answer = await acme.post("/v1/jobs:batch", b'{"jobs":[1]}', content_type="text/plain")
    assert_problem(answer, 415, "unsupported_media_type")


async def test_a_batch_has_a_limit_of_its_own(settings: Settings, owner_db: Database) -> None:
    limits = ApiSettings(max_body_bytes=1024, max_batch_bytes=4096)
    narrow = replace(settings, api=limits)
    async with serving(create_app(narrow)) as client:
        caller = Caller(client, await new_key(owner_db, "acme"))
        results = await submit_batch(caller, [item("a", "x" * 900), item("b", "x" * 1024), item("c")])
        assert [result["status"] for result in results] == [202, 413, 202]
        assert refused(results[1], 413, "body_too_large")["meta"] == {"max_bytes": 1024}
        answer = await caller.post_json("/v1/jobs:batch", {"jobs": [item("d", "x" * 4096)]})
        assert assert_problem(answer, 413, "body_too_large")["meta"] == {"max_bytes": 4096}


async def insist(caller: Caller, path: str, value: Any, **headers: str) -> httpx2.Response:
    """Try again while too many requests wait for the test's few connections, as a client would."""
    while (answer := await caller.post_json(path, value, **headers)).status_code == 503:
        pass
    return answer


async def test_twenty_racing_batches_make_each_job_once(
    acme: Caller, rival: Caller, owner_db: Database
) -> None:
    def shuffled(seed: int) -> list[Body]:
        items = [item(f"key-{n}", str(n), priority=("high", "normal")[n % 2]) for n in range(12)]
        random.Random(seed).shuffle(items)  # noqa: S311 - an order, not a secret
        return items

    async def batch(caller: Caller, seed: int) -> list[str]:
        answer = await insist(caller, "/v1/jobs:batch", {"jobs": shuffled(seed)})
        assert answer.status_code == 207, answer.text
        return [result["job"]["id"] for result in answer.json()["results"]]

    async def alone(caller: Caller, number: int) -> list[str]:
        sent = item("", str(number), priority=("high", "normal")[number % 2])
        del sent["idempotency_key"]
        answer = await insist(caller, "/v1/jobs", sent, idempotency_key=f"key-{number}")
        assert answer.status_code == 202, answer.text
        return [answer.json()["id"]]

    made = await asyncio.gather(
        *(batch(acme, seed) for seed in range(20)),
        *(alone(acme, number) for number in range(12)),
        *(batch(rival, seed) for seed in range(2)),
    )
    assert len({job_id for ids in made[:32] for job_id in ids}) == 12
    assert len({job_id for ids in made[32:] for job_id in ids}) == 12
    async with owner_db.transaction() as conn:
        cursor = await conn.execute("SELECT count(*), count(DISTINCT ticket) FROM jobs")
        assert await cursor.fetchone() == (24, 24)
        cursor = await conn.execute("SELECT count(*) FROM idempotency_keys WHERE job_id IS NULL")
        assert await cursor.fetchone() == (0,)


async def test_racing_batches_of_many_queues_never_wait_for_each_other(acme: Caller) -> None:
    # Each job is due before those that are there, so that each batch has news for both of its queues.
    latest = datetime.now(UTC) + timedelta(days=300)

    async def batch(number: int) -> None:
        when = (latest - timedelta(hours=number)).isoformat()
        priorities = ("high", "normal") if number % 2 else ("normal", "high")
        items = [
            item(f"key-{number}-{n}", priority=priority, run_at=when)
            for n, priority in enumerate(priorities * 10)
        ]
        answer = await insist(acme, "/v1/jobs:batch", {"jobs": items})
        assert {result["status"] for result in answer.json()["results"]} == {202}

    await asyncio.gather(*(batch(number) for number in range(16)))


async def test_a_full_waiting_room_takes_what_fits_and_what_it_knows(
    acme: Caller, owner_db: Database
) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET waiting_cap = 3")
    assert (await acme.submit(b'{"kind":"digest","input":{"text":"a"}}', "known")).status_code == 202
    items = [item("a"), item("b"), item("a"), item("c"), item("known"), item("d", kind="none")]
    answer = await acme.post_json("/v1/jobs:batch", {"jobs": items})
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [202, 202, 202, 429, 202, 422]
    assert [result.get("replayed") for result in results] == [False, False, True, None, True, None]
    assert refused(results[3], 429, "waiting_cap_reached")["meta"] == {"cap": 3}
    assert int(answer.headers["retry-after"]) >= 1
