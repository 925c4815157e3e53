"""Which status and code each kind of request is answered with: the table of the reference, row by row."""

import json
from collections.abc import Mapping
from typing import Any

import httpx2

from relayer.model.ids import new_id
from relayer.store.database import Database
from relayer.tenants.scopes import Scope
from relayer.tenants.service import TenantService

from .conftest import KEYS, Caller, Engine

JOB = {"kind": "digest", "input": {"text": "a"}}
BLOB = f"sha256:{'0' * 64}"
Row = tuple[str, str, Mapping[str, str], Any, int, str | None]


def row(
    method: str, path: str, status: int, code: str | None = None, *, body: Any = None, **headers: str
) -> Row:
    return method, path, headers, body, status, code


def table(ended: str, waiting: str, done: str) -> list[Row]:
    """The rows, for a job that failed, one that waits and one that is confirmed."""
    key = {"idempotency_key": "k"}
    return [
        row("GET", "/v1/jobs", 200),
        row("HEAD", "/v1/jobs", 200),
        row("GET", f"/v1/jobs/{done}/receipt", 200),
        row("GET", f"/v1/jobs/{done}/receipt", 304, if_none_match="*"),
        row("POST", "/v1/jobs", 202, body=JOB, **key),
        row("POST", "/v1/jobs?validate_only=true", 200, body=JOB, **key),
        row("POST", "/v1/jobs:batch", 207, body={"jobs": [JOB | key]}),
        row("POST", "/v1/blobs", 201, body=b"a", content_type="text/plain"),
        row("GET", f"/v1/jobs/{ended}/events", 204, last_event_id="3"),
        # 400: the request itself.
        row("POST", "/v1/jobs", 400, "invalid_json", body=b"{", **key),
        row("POST", "/v1/jobs", 400, "idempotency_key_required", body=JOB),
        row("POST", "/v1/jobs", 400, "invalid_idempotency_key", body=JOB, idempotency_key=" "),
        row("GET", "/v1/jobs?page_size=-1", 400, "invalid_parameter"),
        row("GET", "/v1/jobs?page_token=x", 400, "invalid_page_token"),
        row("GET", f"/v1/jobs/{waiting}/events", 400, "invalid_parameter", last_event_id="x"),
        # 401 and 403: who asks; before anything else is told.
        row("GET", f"/v1/jobs/{done}", 401, "api_key_missing", authorization=""),
        row("POST", "/v1/jobs", 401, "api_key_invalid", body=b"{", authorization="Bearer x"),
        row("GET", f"/v1/jobs/job_{new_id()}", 403, "insufficient_scope", authorization="narrow"),
        # 404 and 410: what there is not.
        row("GET", "/v2", 404, "not_found"),
        row("GET", "/v1/jobs/x", 404, "job_not_found"),
        row("GET", f"/v1/blobs/{BLOB}", 404, "blob_not_found"),
        row("GET", "/v1/dead-letters/redrives/rdr_x", 404, "redrive_not_found"),
        row("GET", f"/v1/jobs/{waiting}/output", 404, "output_not_ready"),
        row("GET", f"/v1/jobs/{ended}/output", 404, "output_absent"),
        row("GET", f"/v1/jobs/{waiting}/receipt", 404, "receipt_not_ready"),
        row("GET", f"/v1/jobs/{ended}/receipt", 404, "receipt_absent"),
        row("PATCH", "/v1/jobs", 405, "method_not_allowed"),
        # 409: the state of things.
        row("POST", f"/v1/jobs/{ended}/cancel", 409, "job_already_ended"),
        row("POST", f"/v1/jobs/{waiting}/rerun", 409, "job_not_ended"),
        # 413, 415: size and media type.
        row("POST", "/v1/jobs", 413, "body_too_large", body=b" " * 300_000, **key),
        row("POST", "/v1/jobs", 415, "unsupported_media_type", body=JOB, content_type="text/plain", **key),
        # 422: JSON that is well-formed and does not fit.
        row("POST", "/v1/jobs", 422, "invalid_body", body={"kind": 1}, **key),
        row("POST", "/v1/jobs", 422, "unknown_kind", body=JOB | {"kind": "x"}, **key),
        row("POST", "/v1/jobs", 422, "invalid_input", body=JOB | {"input": {}}, **key),
        row(
            "POST", "/v1/jobs", 422, "unknown_blob", body=JOB | {"input": {"blob": BLOB}}, idempotency_key="b"
        ),
        row("POST", "/v1/jobs", 422, "idempotency_key_reused", body=JOB | {"priority": "high"}, **key),
    ]


async def test_every_kind_of_request_has_its_status(
    client: httpx2.AsyncClient, acme: Caller, engine: Engine, owner_db: Database
) -> None:
    ended, done, waiting = [await acme.submitted(str(number)) for number in range(3)]
    await engine.fail(ended)
    await engine.complete(done, b"{}")
    await engine.seal()
    await engine.confirm()
    tenants = TenantService(owner_db, KEYS)
    narrow = await tenants.create_key(await tenants.create_tenant("narrow"), "ci", {Scope.BLOBS_WRITE})
    for method, path, given, body, status, code in table(ended["id"], waiting["id"], done["id"]):
        headers = acme.headers(**{"content_type": "application/json"} | dict(given))
        authorization = given.get("authorization")
        if authorization is not None:
            del headers["Authorization"]
            headers["authorization"] = (
                f"Bearer {narrow.secret}" if authorization == "narrow" else authorization
            )
        if authorization == "":
            del headers["authorization"]
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        answer = await client.request(method, path, headers=headers, content=content)
        assert answer.status_code == status, (method, path, answer.text)
        if code is not None:
            assert answer.json()["code"] == code, (method, path)
            assert (status in {401, 403}) == ("www-authenticate" in answer.headers)
            assert (status == 405) == ("allow" in answer.headers)
