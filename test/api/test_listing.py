"""Which jobs a list has, and what a submission is checked for without being made."""

import json
from typing import Any

import pytest

from relayer.store.database import Database

from .conftest import Body, Caller, Engine, assert_problem

GOOD: Body = {"kind": "digest", "input": {"text": "a"}}


async def ids(caller: Caller, query: str) -> list[str]:
    return [job["id"] for job in await caller.items(f"/v1/jobs?page_size=1&{query}")]


async def test_lists_filter_by_metadata(acme: Caller, rival: Caller, owner_db: Database) -> None:
    await rival.submitted(metadata={"env": "prod", "order": "17"})
    one = await acme.submitted("a", metadata={"env": "prod", "order": "17", "a b/ü": "x=&%"})
    two = await acme.submitted("b", metadata={"env": "prod", "order": "18"})
    await acme.submitted("c")
    assert await ids(acme, "metadata.env=prod") == [two["id"], one["id"]]
    assert await ids(acme, "metadata.order=17&metadata.env=prod&kind=digest") == [one["id"]]
    assert await ids(acme, "metadata.a%20b%2F%C3%BC=x%3D%26%25&metadata.order=17&metadata.env=prod") == [
        one["id"]
    ]
    assert await ids(acme, "metadata.order=1") == await ids(acme, "metadata.Env=prod") == []
    async with owner_db.transaction() as conn:
        await conn.execute("""UPDATE jobs SET metadata = '{"order": "19"}' WHERE metadata ? 'a b/ü'""")
    assert await ids(acme, "metadata.env=prod") == [two["id"]]
    assert await ids(acme, "metadata.order=19") == [one["id"]]
    token = (await acme.get("/v1/jobs?page_size=1&metadata.env=prod")).json().get("next_page_token")
    assert token is None
    for query in (
        "metadata.=x",
        "metadata.a=%00",
        f"metadata.a={'x' * 513}",
        "metadata.a=1&metadata.a=2",
        "metadata=x",
    ):
        body = assert_problem(await acme.get(f"/v1/jobs?{query}"), 400, "invalid_parameter")
        assert body["errors"][0]["parameter"] == query.partition("=")[0]
    four = "&".join(f"metadata.{name}=x" for name in "abcd")
    assert_problem(await acme.get(f"/v1/jobs?{four}"), 400, "invalid_parameter")


async def test_lists_filter_by_time_and_tokens_are_bound_to_it(acme: Caller) -> None:
    jobs = [await acme.submitted(str(n), metadata={"n": str(n)}) for n in range(4)]
    times = [job["created_at"] for job in jobs]
    newest_first = [job["id"] for job in reversed(jobs)]
    assert await ids(acme, f"created_after={times[1]}") == newest_first[:3]
    assert await ids(acme, f"created_before={times[1]}") == newest_first[3:]
    assert await ids(acme, f"created_after={times[1]}&created_before={times[3]}") == newest_first[1:3]
    assert await ids(acme, "created_after=9999-12-31T23:59:59Z") == []
    assert await ids(acme, "created_before=0001-01-01T00:00:00Z&metadata.n=1") == []
    token = (await acme.get(f"/v1/jobs?page_size=1&created_after={times[0]}")).json()["next_page_token"]
    for query in ("", f"created_after={times[1]}&", f"created_after={times[0]}&metadata.n=1&"):
        answer = await acme.get(f"/v1/jobs?{query}page_token={token}")
        assert_problem(answer, 400, "invalid_page_token")
    body = assert_problem(await acme.get("/v1/jobs?created_after=soon"), 400, "invalid_parameter")
    assert body["errors"][0]["parameter"] == "created_after"


async def validate(caller: Caller, value: Any, key: str = "checked") -> Any:
    return await caller.post_json("/v1/jobs?validate_only=true", value, idempotency_key=key)


async def test_a_submission_is_checked_and_nothing_is_written(acme: Caller, rival: Caller) -> None:
    made = await acme.submitted(metadata={"order": "17"}, retry={"max_attempts": 2})
    wanted = GOOD | {"input": {"text": "hello"}, "metadata": {"order": "17"}, "retry": {"max_attempts": 2}}
    answer = await validate(acme, wanted)
    assert answer.status_code == 200
    checked = answer.json()
    assert "location" not in answer.headers
    assert checked.keys() == {"kind", "priority", "input_hash", "metadata", "run_at", "retry", "limits"}
    assert {name: made[name] for name in checked if name != "run_at"} == {
        name: value for name, value in checked.items() if name != "run_at"
    }
    blob = (await rival.post("/v1/blobs", b"theirs", content_type="text/plain")).json()["blob"]
    for value, status, code in [
        (GOOD | {"kind": "none"}, 422, "unknown_kind"),
        (GOOD | {"input": {}}, 422, "invalid_input"),
        (GOOD | {"more": 1}, 422, "invalid_body"),
        (GOOD | {"input": {"blob": blob}}, 422, "unknown_blob"),
    ]:
        assert_problem(await validate(acme, value), status, code)
    assert (await validate(acme, GOOD, "free")).status_code == 200
    assert [job["id"] for job in await acme.items("/v1/jobs")] == [made["id"]]
    first = await acme.submit(json.dumps(GOOD).encode(), "free")
    assert "idempotency-replayed" not in first.headers
    assert (await validate(acme, GOOD, "free")).status_code == 200
    assert_problem(await validate(acme, GOOD | {"priority": "high"}, "free"), 422, "idempotency_key_reused")
    keyless = await acme.post_json("/v1/jobs?validate_only=true", GOOD)
    assert_problem(keyless, 400, "idempotency_key_required")
    assert_problem(await acme.post_json("/v1/jobs?validate_only=perhaps", GOOD), 400, "invalid_parameter")
    assert_problem(await acme.post_json("/v1/jobs?dry_run=true", GOOD), 400, "invalid_parameter")


async def test_a_batch_is_checked_item_by_item_and_against_the_cap(acme: Caller, owner_db: Database) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET waiting_cap = 2")
    await acme.submitted()
    items = [
        GOOD | {"idempotency_key": f"k{n}", "kind": kind}
        for n, kind in enumerate(["digest", "none", "digest"])
    ]
    answer = await acme.post_json("/v1/jobs:batch?validate_only=true", {"jobs": items})
    assert answer.status_code == 207
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [200, 422, 429]
    assert results[0]["validated"]["kind"] == "digest"
    assert results[2]["problem"]["code"] == "waiting_cap_reached"
    assert int(answer.headers["retry-after"]) >= 1
    assert len(await acme.items("/v1/jobs")) == 1


async def test_what_a_client_has_is_not_sent_again(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    await engine.complete(job, b"x" * 10_000)
    await engine.seal()
    await engine.confirm()
    blob = (await acme.post("/v1/blobs", b"mine", content_type="text/plain")).json()["blob"]
    keeping = {
        f"/v1/jobs/{job['id']}/receipt": "private, max-age=31536000, immutable",
        f"/v1/jobs/{job['id']}/output": "private, no-cache",
        f"/v1/blobs/{blob}/content": "private, no-cache",
        f"/v1/jobs/{job['id']}": "private, no-cache",
    }
    for path, control in keeping.items():
        whole = await acme.get(path)
        assert (whole.status_code, whole.headers["cache-control"]) == (200, control)
        again = await acme.get(path, if_none_match=whole.headers["etag"])
        assert (again.status_code, again.content) == (304, b"")
        assert (again.headers["etag"], again.headers["cache-control"]) == (whole.headers["etag"], control)
        assert (await acme.get(path, if_none_match='"other"')).content == whole.content
    output = f"/v1/jobs/{job['id']}/output"
    tag = (await acme.get(output)).headers["etag"]
    assert (await acme.get(f"/v1/jobs/{job['id']}")).json()["output_hash"] == f"0x{tag.strip(chr(34))}"
    deleted = await acme.client.delete(f"/v1/blobs/sha256:{tag[1:-1]}", headers=acme.headers())
    assert deleted.status_code == 204
    assert_problem(await acme.get(output, if_none_match=tag), 410, "output_deleted")


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:batch"])
async def test_a_check_needs_the_scope_to_submit(acme: Caller, path: str) -> None:
    answer = await acme.client.post(f"{path}?validate_only=true", json=GOOD)
    assert_problem(answer, 401, "api_key_missing")
