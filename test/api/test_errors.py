import base64
import hashlib
import re
from pathlib import Path

import httpx2
import pytest
import structlog
from structlog.testing import capture_logs

from api.app import Settings, create_app
from api.errors import Code
from api.explanations import EXPLANATIONS
from api.reference.document import operations

from .conftest import Caller, Engine, assert_problem, serving

ROOT = Path(__file__).resolve().parents[2]


def test_every_code_is_documented_with_its_status() -> None:
    assert EXPLANATIONS.keys() == {*Code}, "explain each code in api/explanations.py"
    page = (ROOT / "docs/reference/errors.md").read_text()
    documented = {
        code: (status, retryable)
        for code, status, retryable in re.findall(r"^\| `(\w+)` \| (\w+) \| (yes|no) \|", page, re.MULTILINE)
    }
    assert documented.keys() == {code.slug for code in Code}
    for code in set(Code) - {Code.REQUEST_FAILED}:
        definition = code.value
        assert documented[code.slug] == (str(definition.status), "yes" if definition.retryable else "no")


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/jobs/", "/v1/jobs/job_x/none", "/docs/errors/none", "/v1/%00"]
)
async def test_an_unknown_path_is_a_problem(client: httpx2.AsyncClient, path: str) -> None:
    body = assert_problem(await client.get(path), 404, "not_found")
    assert body["instance"].startswith("/")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/jobs:batch", "POST"),
        ("OPTIONS", "/v1/jobs", "GET, HEAD, POST"),
        ("DELETE", "/v1/jobs", "GET, HEAD, POST"),
        ("PUT", "/v1/jobs/job_x", "GET, HEAD"),
        ("TRACE", "/v1/blobs/sha256:x", "GET, HEAD, DELETE"),
        ("BREW", "/v1/blobs", "POST"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_a_problem(
    client: httpx2.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await client.request(method, path)
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


async def test_head_is_get_without_a_body(acme: Caller, engine: Engine) -> None:
    job = await acme.submitted()
    await engine.complete(job, b"x" * 200_000)
    for path, status in [
        (f"/v1/jobs/{job['id']}", 200),
        (f"/v1/jobs/{job['id']}/output", 200),
        (f"/v1/jobs/{job['id']}/receipt", 404),
        ("/v1/nothing", 404),
        ("/v1/jobs:batch", 405),
        ("/openapi.json", 200),
        ("/docs", 200),
    ]:
        got = await acme.get(path)
        head = await acme.client.head(path, headers=acme.headers())
        assert (head.status_code, head.content) == (status, b"")
        assert [*head.headers] == [*got.headers]
        assert head.headers["content-length"] == got.headers["content-length"]


async def test_every_code_has_a_page_that_loads_nothing_from_elsewhere(client: httpx2.AsyncClient) -> None:
    problem = await client.get("/v1/jobs")
    paths = ["/docs", "/docs/errors", *(f"/docs/errors/{code.slug}" for code in Code)]
    assert problem.headers["link"] == '</docs/errors/api_key_missing>; rel="help"'
    for path in paths:
        answer = await client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        style = answer.text.partition("<style>")[2].partition("</style>")[0]
        assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
        assert not re.search(r"<script|<link|<img|\bsrc=|style=|url\(|=.?https?://", answer.text)
        for target in re.findall(r'href="([^"]*)"', answer.text):
            if target.startswith("#"):
                assert f'id="{target[1:]}"' in answer.text
            else:
                assert target in {*paths, "/openapi.json"}


async def test_the_reference_shows_every_operation(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    text = (await client.get("/docs")).text
    for path, _, operation in operations(document):
        assert f'<h3 id="{operation["operationId"]}">' in text
        assert f"<code>{path}</code>" in text


async def test_an_unforeseen_error_shows_nothing_of_the_inside(settings: Settings) -> None:
    app = create_app(settings)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("the inside")

    async with serving(app) as client:
        with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
            assert_problem(await client.get("/nowhere"), 404, "not_found")
            assert logs == []
            answer = await client.get("/broken")
    assert [(entry["event"], entry["path"]) for entry in logs] == [("request_failed", "/broken")]
    assert logs[0]["request_id"] == answer.headers["request-id"]
    assert "the inside" in logs[0]["traceback"]
    assert_problem(answer, 500, "internal_error")
    assert "inside" not in answer.text.replace("inside the platform", "")
    assert answer.headers["request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ('{"a": 1}', False),
    ],
)
async def test_a_clients_trace_is_logged_if_it_is_one(settings: Settings, sent: str, logged: bool) -> None:
    app = create_app(settings)

    @app.get("/talk")
    async def talk() -> None:
        structlog.get_logger().warning("talked")

    async with serving(app) as client:
        with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
            answer = await client.get("/talk", headers={"traceparent": sent, "Request-Id": "mine"})
    (line,) = logs
    assert line["request_id"] == answer.headers["request-id"] != "mine"
    assert line.get("traceparent") == (sent if logged else None)


async def test_every_answer_has_its_own_request_id(acme: Caller) -> None:
    answers = [await acme.get("/v1/jobs") for _ in range(2)]
    assert len({answer.headers["request-id"] for answer in answers}) == 2
    assert all(answer.headers["x-content-type-options"] == "nosniff" for answer in answers)
