import re
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs

from api.app import Settings, create_app
from api.errors import Code

from .conftest import Caller, assert_problem, serving

ROOT = Path(__file__).resolve().parents[2]


def test_every_code_is_documented_with_its_status() -> None:
    page = (ROOT / "docs/reference/errors.md").read_text()
    documented = {
        code: (status, retryable)
        for code, status, retryable in re.findall(r"^\| `(\w+)` \| (\w+) \| (yes|no) \|", page, re.MULTILINE)
    }
    assert documented.keys() == {code.slug for code in Code}
    for code in set(Code) - {Code.REQUEST_FAILED}:
        definition = code.value
        assert documented[code.slug] == (str(definition.status), "yes" if definition.retryable else "no")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/jobs/", "/v1/jobs/job_x/none", "/docs", "/v1/%00"])
async def test_an_unknown_path_is_a_problem(client: httpx2.AsyncClient, path: str) -> None:
    body = assert_problem(await client.get(path), 404, "not_found")
    assert body["instance"].startswith("/")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs:batch"),
        ("GET", "/v1/jobs/job_x/cancel"),
        ("DELETE", "/v1/jobs"),
        ("PUT", "/v1/jobs/job_x"),
        ("GET", "/v1/blobs"),
    ],
)
async def test_a_wrong_method_is_a_problem(client: httpx2.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path)
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"]


async def test_an_unforeseen_error_shows_nothing_of_the_inside(settings: Settings) -> None:
    app = create_app(settings)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("the inside")

    async with serving(app) as client:
        with capture_logs() as logs:
            assert_problem(await client.get("/nowhere"), 404, "not_found")
            assert logs == []
            answer = await client.get("/broken")
    assert [(entry["event"], entry["path"]) for entry in logs] == [("request_failed", "/broken")]
    assert "the inside" in logs[0]["traceback"]
    assert_problem(answer, 500, "internal_error")
    assert "inside" not in answer.text.replace("inside the platform", "")
    assert answer.headers["request-id"].startswith("req_")


async def test_every_answer_has_its_own_request_id(acme: Caller) -> None:
    answers = [await acme.get("/v1/jobs") for _ in range(2)]
    assert len({answer.headers["request-id"] for answer in answers}) == 2
    assert all(answer.headers["x-content-type-options"] == "nosniff" for answer in answers)


async def test_the_description_names_every_resource(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["paths"].keys() == {
        "/v1/jobs",
        "/v1/jobs/{job_id}",
        "/v1/jobs/{job_id}/output",
        "/v1/jobs/{job_id}/receipt",
        "/v1/jobs/{job_id}/history",
        "/v1/jobs/{job_id}/attempts",
        "/v1/jobs/{job_id}/cancel",
        "/v1/jobs/{job_id}/rerun",
        "/v1/jobs:batch",
        "/v1/dead-letters",
        "/v1/dead-letters:redrive",
        "/v1/dead-letters/redrives/{redrive_id}",
        "/v1/blobs",
        "/v1/blobs/{blob}",
        "/v1/blobs/{blob}/content",
        "/v1/keys",
        "/v1/keys/{key_id}",
        "/v1/keys/{key_id}/rotate",
        "/health/live",
        "/health/ready",
    }
    problem = document["paths"]["/v1/jobs"]["post"]["responses"]["422"]["content"]
    assert "application/problem+json" in problem
