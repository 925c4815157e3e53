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
KEY = {"name": "a", "scopes": ["jobs:read"]}
CAP = {"running_jobs": 1}
GRANT, FORM = b"grant_type=client_credentials", "application/x-www-form-urlencoded"
Row = tuple[str, str, Mapping[str, str], Any, int, str | None, str]


def row(
    method: str,
    path: str,
    status: int,
    code: str | None = None,
    *,
    body: Any = None,
    by: str = "acme",
    **headers: str,
) -> Row:
    return method, path, headers, body, status, code, by


def table(ended: str, waiting: str, done: str, revoked: str, own: str) -> list[Row]:
    """The rows, for a job that failed, one that waits, one that is confirmed, a revoked key, and the operator's tenant."""
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
        row("GET", "/v1/usage", 200),
        row("GET", "/v1/audit-events", 200),
        row("POST", "/v1/keys", 201, body=KEY),
        row("DELETE", f"/v1/keys/{revoked}", 204),
        row("POST", "/v1/admin/tenants", 201, body={"name": "new"}, by="operator"),
        row("GET", "/oauth/jwks", 200, by="nobody"),
        row("GET", "/metrics", 200, by="nobody"),
        # 400: the request itself.
        row("POST", "/v1/jobs", 400, "invalid_json", body=b"{", **key),
        row("POST", "/v1/jobs", 400, "idempotency_key_required", body=JOB),
        row("POST", "/v1/jobs", 400, "invalid_idempotency_key", body=JOB, idempotency_key=" "),
        row("GET", "/v1/jobs?page_size=-1", 400, "invalid_parameter"),
        row("GET", "/v1/jobs?page_token=x", 400, "invalid_page_token"),
        row("GET", f"/v1/jobs/{waiting}/events", 400, "invalid_parameter", last_event_id="x"),
        row("GET", "/v1/audit-events?target=%00", 400, "invalid_parameter"),
        row("PATCH", own, 400, "invalid_parameter", body={"weight": 2}, by="operator", if_match="9"),
        row("PUT", "/v1/admin/kind-caps/%00", 400, "invalid_parameter", body=CAP, by="operator"),
        row("POST", "/oauth/token", 400, "invalid_request", body=b"", by="nobody"),
        # 401 and 403: who asks; before anything else is told.
        row("GET", f"/v1/jobs/{done}", 401, "api_key_missing", by="nobody"),
        row("POST", "/v1/jobs", 401, "api_key_invalid", body=b"{", by="guess"),
        row("GET", "/v1/usage", 401, "access_token_invalid", by="forger"),
        row("POST", "/oauth/token", 401, "invalid_client", body=GRANT, by="nobody", content_type=FORM),
        row("GET", f"/v1/jobs/job_{new_id()}", 403, "insufficient_scope", by="narrow"),
        row("POST", "/v1/keys", 403, "privilege_exceeded", body=KEY, by="narrow"),
        row("PATCH", f"/v1/admin/tenants/tnt_{new_id()}", 403, "insufficient_scope", body=b"{"),
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
        row("GET", f"/v1/keys/key_{new_id()}", 404, "key_not_found"),
        row("GET", "/v1/admin/tenants/tnt_x", 404, "tenant_not_found", by="operator"),
        row("DELETE", "/v1/admin/kind-caps/digest", 404, "kind_cap_not_found", by="operator"),
        # 409 and 412: the state of things.
        row("POST", f"/v1/jobs/{ended}/cancel", 409, "job_already_ended"),
        row("POST", f"/v1/jobs/{waiting}/rerun", 409, "job_not_ended"),
        row("POST", f"/v1/keys/{revoked}/rotate", 409, "key_ended", body={}),
        row("POST", "/v1/admin/tenants", 409, "tenant_name_taken", body={"name": "acme"}, by="operator"),
        row("POST", f"{own}/suspend", 409, "operator_tenant", body={"reason": "a"}, by="operator"),
        row("PATCH", own, 412, "precondition_failed", body={"weight": 2}, by="operator", if_match='"9"'),
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
    client: httpx2.AsyncClient, acme: Caller, engine: Engine, owner_db: Database, operator_key: str
) -> None:
    ended, done, waiting = [await acme.submitted(str(number)) for number in range(3)]
    await engine.fail(ended)
    await engine.complete(done, b"{}")
    await engine.seal()
    await engine.confirm()
    tenants = TenantService(owner_db, KEYS)
    scopes = {Scope.BLOBS_WRITE, Scope.KEYS_WRITE}
    narrow = await tenants.create_key(await tenants.create_tenant("narrow"), "ci", scopes)
    shown = {
        "acme": acme.secret,
        "narrow": narrow.secret,
        "operator": operator_key,
        "guess": "x",
        "forger": "e30.e30.e30",
    }
    revoked = (await acme.post_json("/v1/keys", KEY)).json()["id"]
    await client.delete(f"/v1/keys/{revoked}", headers=acme.headers())
    own = f"/v1/admin/tenants/tnt_{await tenants.find_tenant('operator')}"
    rows = table(ended["id"], waiting["id"], done["id"], revoked, own)
    for method, path, given, body, status, code, by in rows:
        headers = {"content-type": "application/json"}
        headers |= {name.replace("_", "-"): value for name, value in given.items()}
        headers |= {"authorization": f"Bearer {shown[by]}"} if by in shown else {}
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        answer = await client.request(method, path, headers=headers, content=content)
        assert answer.status_code == status, (method, path, answer.text)
        if code is not None:
            told = answer.json()
            assert told.get("code", told.get("error")) == code, (method, path)
            assert (status == 401 or code == "insufficient_scope") == ("www-authenticate" in answer.headers)
            assert (status == 405) == ("allow" in answer.headers)
