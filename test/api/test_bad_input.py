import json
from typing import Any

import httpx2
import pytest

from relayer.tenants.keys import generate_key

from .conftest import Caller, assert_problem

GOOD = b'{"kind":"digest","input":{"text":"hello"}}'


@pytest.mark.parametrize(
    ("content", "code", "pointer"),
    [
        pytest.param(b"", "invalid_json", None, id="empty"),
        pytest.param(b"{", "invalid_json", None, id="syntax"),
        pytest.param(b'{"kind":"\xff"}', "invalid_json", None, id="not-utf-8"),
        pytest.param(b'{"kind":"digest","kind":"x","input":{}}', "invalid_json", "/kind", id="twice"),
        pytest.param(
            b'{"kind":"digest","input":{"a":{"b":1,"b":1}}}', "invalid_json", "/input/a/b", id="deep"
        ),
        pytest.param(
            b'{"kind":"digest","input":{"n":9007199254740992}}', "invalid_json", "/input/n", id="big"
        ),
        pytest.param(
            b'{"kind":"digest","input":[-9007199254740992]}', "invalid_json", "/input/0", id="small"
        ),
        pytest.param(b'{"kind":"digest","input":NaN}', "invalid_json", "/input", id="nan"),
        pytest.param(
            b'{"kind":"digest","input":{"text":"\\ud800"}}', "invalid_json", "/input/text", id="surrogate"
        ),
        pytest.param(b"[" * 65 + b"]" * 65, "invalid_json", None, id="nested"),
    ],
)
async def test_json_that_two_parsers_could_read_differently_is_refused(
    acme: Caller, content: bytes, code: str, pointer: str | None
) -> None:
    body = assert_problem(await acme.submit(content), 400, code)
    if pointer is None:
        assert body["meta"]["position"] >= 0
    else:
        assert [fault["pointer"] for fault in body["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        pytest.param([], "", id="no-object"),
        pytest.param({"input": {}}, "/kind", id="no-kind"),
        pytest.param({"kind": "digest"}, "/input", id="no-input"),
        pytest.param({"kind": 7, "input": {}}, "/kind", id="kind-of-wrong-type"),
        pytest.param({"kind": "", "input": {}}, "/kind", id="empty-kind"),
        pytest.param({"kind": "\0", "input": {}}, "/kind", id="nul-in-kind"),
        pytest.param({"kind": "digest", "input": {}, "ticket": "0x0"}, "/ticket", id="unknown-field"),
        pytest.param({"kind": "digest", "input": {}, "a/b~": 1}, "/a~1b~0", id="escaped-pointer"),
        pytest.param(
            {"kind": "digest", "input": {}, "metadata": []}, "/metadata", id="metadata-of-wrong-type"
        ),
        pytest.param({"kind": "digest", "input": {}, "metadata": None}, "/metadata", id="metadata-null"),
        pytest.param(
            {"kind": "digest", "input": {}, "metadata": {"a": 1}}, "/metadata/a", id="metadata-number"
        ),
        pytest.param(
            {"kind": "digest", "input": {}, "metadata": {"a": "x\0"}}, "/metadata/a", id="metadata-nul"
        ),
        pytest.param({"kind": "digest", "input": {}, "metadata": {"a": "x" * 513}}, "/metadata/a", id="long"),
        pytest.param({"kind": "digest", "input": {}, "metadata": {"": "x"}}, "/metadata/", id="empty-name"),
        pytest.param(
            {"kind": "digest", "input": {}, "metadata": {str(n): "" for n in range(33)}},
            "/metadata",
            id="many",
        ),
    ],
)
async def test_a_body_that_does_not_fit_is_refused_at_its_place(
    acme: Caller, value: Any, pointer: str
) -> None:
    body = assert_problem(await acme.submit(json.dumps(value).encode()), 422, "invalid_body")
    assert pointer in [fault["pointer"] for fault in body["errors"]]


async def test_of_many_faults_some_are_told_and_the_rest_are_counted(acme: Caller) -> None:
    unknown = {f"m{n}": n for n in range(9_000)}
    codes = {"max_attempts": 1, "codes": [7] * 5_000}
    for more in (unknown, {"retry": unknown}, {"metadata": dict.fromkeys(unknown, 1)}, {"retry": codes}):
        sent = json.dumps({"kind": "digest", "input": {}} | more).encode()
        body = assert_problem(await acme.submit(sent), 422, "invalid_body")
        if len(body["errors"]) > 1:
            assert len(body["errors"]) == 51
            assert body["errors"][-1]["code"] == "more"
            assert body["errors"][-1]["detail"].split()[0] in {"8950", "4950"}
    many = b'{"kind":"digest","input":[' + b"0," * 20_000 + b"0]}"
    body = assert_problem(await acme.submit(many), 400, "invalid_json")
    assert [(fault["code"], fault["pointer"]) for fault in body["errors"]] == [("size", "")]


async def test_an_unknown_kind_is_named_with_those_there_are(acme: Caller) -> None:
    body = assert_problem(await acme.submit(b'{"kind":"mine","input":{}}'), 422, "unknown_kind")
    assert body["meta"]["kind"] == "mine"
    assert "digest" in body["meta"]["known"]


@pytest.mark.parametrize("value", [{}, {"text": 7}, {"text": "a", "other": 1}, [], None])
async def test_an_input_that_does_not_fit_its_kind_is_refused(acme: Caller, value: Any) -> None:
    content = json.dumps({"kind": "digest", "input": value}).encode()
    body = assert_problem(await acme.submit(content), 422, "invalid_input")
    assert all(fault["pointer"].startswith("/input") for fault in body["errors"])
    assert body["errors"]


async def test_a_blob_that_never_was_is_unknown(acme: Caller) -> None:
    content = json.dumps({"kind": "digest", "input": {"blob": f"sha256:{'0' * 64}"}}).encode()
    body = assert_problem(await acme.submit(content), 422, "unknown_blob")
    assert body["errors"][0]["pointer"] == "/input/blob"


async def test_a_refused_request_makes_no_job_and_keeps_its_key_free(acme: Caller) -> None:
    assert_problem(await acme.submit(b'{"kind":"mine","input":{}}', "one"), 422, "unknown_kind")
    assert (await acme.get("/v1/jobs")).json() == {"data": []}
    assert (await acme.submit(GOOD, "one")).status_code == 202


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_refused_by_its_bytes(acme: Caller, announced: bool) -> None:
    content = GOOD.ljust(256 * 1024 + 1)
    given = 0

    async def stream() -> Any:
        nonlocal given
        for start in range(0, len(content), 1 << 16):
            given += 1
            yield content[start : start + (1 << 16)]
        raise AssertionError("read on after the limit")

    answer = await acme.client.post(
        "/v1/jobs",
        content=content if announced else stream(),
        headers=acme.headers(content_type="application/json", idempotency_key="one"),
    )
    assert assert_problem(answer, 413, "body_too_large")["meta"] == {"max_bytes": 256 * 1024}
    assert (await acme.submit(GOOD.ljust(256 * 1024))).status_code == 202


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "application/json; charset=latin-1"])
async def test_another_media_type_is_refused(acme: Caller, media_type: str) -> None:
    answer = await acme.post("/v1/jobs", GOOD, content_type=media_type, idempotency_key="one")
    assert_problem(answer, 415, "unsupported_media_type")


async def test_a_missing_idempotency_key_is_refused(acme: Caller) -> None:
    answer = await acme.post("/v1/jobs", GOOD, content_type="application/json")
    assert_problem(answer, 400, "idempotency_key_required")


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "ü", '"open', '""', '"a"b', "a\tb"])
async def test_a_malformed_idempotency_key_is_refused(acme: Caller, key: str) -> None:
    answer = await acme.client.post(
        "/v1/jobs",
        content=GOOD,
        headers=[
            (b"authorization", f"Bearer {acme.secret}".encode()),
            (b"content-type", b"application/json"),
            (b"idempotency-key", key.encode()),
        ],
    )
    assert_problem(answer, 400, "invalid_idempotency_key")


async def test_two_idempotency_keys_are_refused(acme: Caller) -> None:
    headers = [*acme.headers(content_type="application/json").items()]
    headers += [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await acme.client.post("/v1/jobs", content=GOOD, headers=headers)
    assert_problem(answer, 400, "invalid_idempotency_key")


ENDPOINTS = [
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/job_x"),
    ("GET", "/v1/jobs/job_x/output"),
    ("GET", "/v1/jobs/job_x/receipt"),
    ("GET", "/v1/jobs/job_x/history"),
    ("GET", "/v1/jobs/job_x/attempts"),
    ("POST", "/v1/jobs/job_x/cancel"),
    ("POST", "/v1/jobs/job_x/rerun"),
    ("POST", "/v1/jobs:batch"),
    ("GET", "/v1/dead-letters"),
    ("POST", "/v1/dead-letters:redrive"),
    ("GET", "/v1/dead-letters/redrives/rdr_x"),
    ("POST", "/v1/blobs"),
    ("GET", "/v1/keys"),
    ("POST", "/v1/keys"),
    ("GET", "/v1/keys/key_x"),
    ("DELETE", "/v1/keys/key_x"),
    ("POST", "/v1/keys/key_x/rotate"),
]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
async def test_every_endpoint_wants_a_key(client: httpx2.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path)
    assert_problem(answer, 401, "api_key_missing")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer x",
        "Basic eDp5",
        "Bearer jsl_live_x y",
        pytest.param(f"Bearer {generate_key()}", id="unknown"),
        "",
    ],
)
async def test_a_malformed_or_unknown_key_is_refused(client: httpx2.AsyncClient, authorization: str) -> None:
    answer = await client.get("/v1/jobs", headers={"Authorization": authorization})
    assert_problem(answer, 401, "api_key_invalid")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    "query",
    ["page_size=-1", "page_size=x", "state=done", "kind=", "kind=%00", "stat=created", "kind=" + "x" * 65],
)
async def test_a_bad_query_is_refused(acme: Caller, query: str) -> None:
    body = assert_problem(await acme.get(f"/v1/jobs?{query}"), 400, "invalid_parameter")
    assert body["errors"][0]["parameter"] == query.partition("=")[0]
