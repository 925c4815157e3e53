import hashlib
import json
import re
from datetime import timedelta
from typing import cast

import pytest

from relayer.model.clock import utc_now
from relayer.model.lifecycle import JobState
from relayer.seal.commitment import input_hash
from relayer.seal.receipt import Receipt
from relayer.store.blobs import SMALL_BYTES
from relayer.store.database import Database

from .conftest import Body, Caller, Engine, assert_problem


async def test_a_submitted_job_has_its_ticket_and_the_hash_of_what_was_sent(acme: Caller) -> None:
    sent = {"kind": "digest", "input": {"text": "hé\u0000"}, "metadata": {"order": "17"}}
    answer = await acme.submit(json.dumps(sent).encode())
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert "idempotency-replayed" not in answer.headers
    assert job["ticket"] == "0x0000000000000000"
    assert re.fullmatch(r"job_[0-9a-f-]{36}", job["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", job["created_at"])
    assert job["input_hash"] == f"0x{input_hash('digest', sent['input']).hex()}"
    assert (job["kind"], job["state"], job["state_version"]) == ("digest", "created", 1)
    assert job["metadata"] == {"order": "17"}
    assert (job["queue_position_hint"], job["usage"]) == (None, {"compute_seconds": 0})
    assert (await acme.get(answer.headers["location"])).json() == job | {"queue_position_hint": 1}
    assert (await acme.submitted())["ticket"] == "0x0000000000000001"


async def test_the_same_key_and_body_give_the_same_job(acme: Caller, engine: Engine) -> None:
    first = (await acme.submit(b'{"kind":"digest","input":{"text":"a"}}', "one")).json()
    await engine.move(first, JobState.PROCESSING)
    again = await acme.submit(b'{ "input": {"text": "\\u0061"}, "kind": "digest" }', '"one"')
    assert again.status_code == 202
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.json()["id"], again.json()["state"]) == (first["id"], "processing")
    assert len((await acme.get("/v1/jobs")).json()["data"]) == 1


@pytest.mark.parametrize(
    "other",
    [
        b'{"kind":"digest","input":{"text":"b"}}',
        b'{"kind":"digest","input":{"text":"a"},"metadata":{}}',
    ],
)
async def test_the_same_key_with_another_body_is_refused(acme: Caller, other: bytes) -> None:
    await acme.submit(b'{"kind":"digest","input":{"text":"a"}}', "one")
    body = assert_problem(await acme.submit(other, "one"), 422, "idempotency_key_reused")
    assert body["meta"] == {"idempotency_key": "one"}


async def test_two_tenants_may_use_the_same_key(acme: Caller, rival: Caller) -> None:
    content = b'{"kind":"digest","input":{"text":"a"}}'
    first, second = await acme.submit(content, "one"), await rival.submit(content, "one")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] != second.json()["id"]


async def test_a_waiting_job_tells_its_place(acme: Caller, rival: Caller, engine: Engine) -> None:
    async def place(job: Body) -> int | None:
        read = (await acme.get(f"/v1/jobs/{job['id']}")).json()
        return cast("int | None", read["queue_position_hint"])

    await rival.submitted()
    first, second = await acme.submitted(), await acme.submitted()
    urgent = await acme.submitted(priority="high")
    later = await acme.submitted(run_at=(utc_now() + timedelta(hours=1)).isoformat())
    assert [await place(job) for job in (first, second, urgent, later)] == [1, 2, 1, None]
    answer = await acme.get(f"/v1/jobs/{second['id']}")
    tag = answer.headers["etag"]
    assert tag.startswith('W/"')
    await engine.move(first, JobState.PROCESSING)
    assert [await place(job) for job in (first, second)] == [None, 1]
    # That it moved up is no news to whoever waits for some.
    for prefer in ("", "wait=1"):
        unchanged = await acme.get(f"/v1/jobs/{second['id']}", if_none_match=tag, prefer=prefer)
        assert (unchanged.status_code, unchanged.headers["etag"]) == (304, tag)
    assert {job["queue_position_hint"] for job in await acme.items("/v1/jobs")} == {None}


async def test_a_place_is_counted_no_further_than_to_a_hundred(acme: Caller) -> None:
    items = [{"idempotency_key": f"k{n}", "kind": "digest", "input": {"text": "a"}} for n in range(105)]
    results = (await acme.post_json("/v1/jobs:batch", {"jobs": items})).json()["results"]
    ids = sorted(result["job"]["id"] for result in results)
    places = [(await acme.get(f"/v1/jobs/{one}")).json()["queue_position_hint"] for one in ids[98:]]
    assert places == [99, 100, 100, 100, 100, 100, 100]


async def test_an_etag_spares_an_unchanged_job(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    path = f"/v1/jobs/{job['id']}"
    tag = (await acme.get(path)).headers["etag"]
    unchanged = await acme.get(path, if_none_match=f'"x", {tag}')
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    await engine.move(job, JobState.PROCESSING)
    changed = await acme.get(path, if_none_match=tag)
    assert changed.json()["state"] == "processing"
    assert changed.headers["etag"] != tag


async def test_output_and_receipt_come_when_they_are_there(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    path = f"/v1/jobs/{job['id']}"
    body = assert_problem(await acme.get(f"{path}/output"), 404, "output_not_ready")
    assert (body["retryable"], body["meta"]) == (True, {"state": "created"})

    output = bytes(range(256)) * 10_000
    await engine.complete(job, output, "application/x-test")
    completed = (await acme.get(path)).json()
    assert completed["state"] == "completed"
    assert completed["output_hash"] == f"0x{hashlib.sha256(output).hexdigest()}"
    assert completed["output"] == {"size": len(output), "media_type": "application/x-test"}
    assert completed["result_ready_at"].endswith("Z")
    assert completed["batch_root"] is completed["confirmed_at"] is None
    answer = await acme.get(f"{path}/output")
    assert answer.content == output
    assert answer.headers["content-type"] == "application/x-test"
    assert answer.headers["content-length"] == str(len(output))

    await engine.seal()
    assert (await acme.get(path)).json()["state"] == "confirming"
    assert_problem(await acme.get(f"{path}/receipt"), 404, "receipt_not_ready")

    await engine.confirm()
    confirmed = await acme.get(path)
    assert confirmed.json()["state"] == "confirmed"
    assert confirmed.json()["inclusion"] == {"transaction_hash": f"0x{'08' * 32}", "block_number": 7}
    assert "retry-after" not in confirmed.headers
    answer = await acme.get(f"{path}/receipt")
    assert answer.headers["content-type"] == "application/vnd.jobseal.receipt+json"
    receipt = Receipt.from_json(answer.content)
    assert f"0x{receipt.batch_root.hex()}" == confirmed.json()["batch_root"]
    assert f"0x{receipt.job.input_hash.hex()}" == job["input_hash"]
    assert f"0x{receipt.job.ticket:016x}" == job["ticket"]


async def test_an_empty_output_is_an_output(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    await engine.complete(job, b"")
    answer = await acme.get(f"/v1/jobs/{job['id']}/output")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


async def test_a_failed_job_never_has_output_or_receipt(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    await engine.move(job, JobState.PROCESSING, JobState.FAILED)
    assert not assert_problem(await acme.get(f"/v1/jobs/{job['id']}/output"), 404, "output_absent")[
        "retryable"
    ]
    assert_problem(await acme.get(f"/v1/jobs/{job['id']}/receipt"), 404, "receipt_absent")


@pytest.mark.parametrize("length", [4, SMALL_BYTES + 1])
async def test_an_altered_output_is_not_given(
    acme: Caller, engine: Engine, owner_db: Database, length: int
) -> None:
    job = await acme.submitted()
    output = b"t" * length
    await engine.complete(job, output)
    if length > SMALL_BYTES:
        engine.blobs.path(hashlib.sha256(output).digest()).write_bytes(b"l" * length)
    else:
        async with owner_db.transaction() as conn:
            await conn.execute("UPDATE blobs SET content = %s", [b"l" * length])
    assert_problem(await acme.get(f"/v1/jobs/{job['id']}/output"), 500, "internal_error")


async def test_pages_hold_every_job_once_newest_first(acme: Caller, rival: Caller) -> None:
    ids = [(await acme.submitted(str(number)))["id"] for number in range(7)]
    await rival.submitted()
    seen, path = [], "/v1/jobs?page_size=3"
    sizes = []
    while True:
        page = (await acme.get(path)).json()
        sizes.append(len(page["data"]))
        seen += [job["id"] for job in page["data"]]
        if "next_page_token" not in page:
            break
        path = f"/v1/jobs?page_size=3&page_token={page['next_page_token']}"
    assert sizes == [3, 3, 1]
    assert seen == ids[::-1]


async def test_lists_filter_by_state_and_kind(acme: Caller, engine: Engine) -> None:
    moved = await acme.submitted("a")
    waiting = await acme.submitted("b")
    await engine.move(moved, JobState.PROCESSING)

    async def ids(query: str) -> list[str]:
        return [job["id"] for job in (await acme.get(f"/v1/jobs?{query}")).json()["data"]]

    assert await ids("state=processing") == [moved["id"]]
    assert await ids("state=created&kind=digest") == [waiting["id"]]
    assert await ids("kind=other") == []
    assert len(await ids("page_size=0")) == len(await ids("page_size=100000")) == 2


async def test_a_token_fits_its_tenant_and_filters_only(acme: Caller, rival: Caller) -> None:
    for number in range(2):
        await acme.submitted(str(number))
    token = (await acme.get("/v1/jobs?page_size=1&kind=digest")).json()["next_page_token"]
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
    assert (await acme.get(f"/v1/jobs?kind=digest&page_token={token}")).status_code == 200
    flipped = ("B" if token[0] == "A" else "A") + token[1:]
    for caller, query in [
        (acme, f"page_token={token}"),
        (acme, f"kind=digest&state=created&page_token={token}"),
        (acme, f"kind=digest&page_token={flipped}"),
        (acme, "kind=digest&page_token="),
        (acme, "kind=digest&page_token=%C3%BC"),
        (rival, f"kind=digest&page_token={token}"),
    ]:
        assert_problem(await caller.get(f"/v1/jobs?{query}"), 400, "invalid_page_token")
