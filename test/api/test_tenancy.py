import json

import httpx2
import pytest

from relayer.model.ids import new_id
from relayer.store.database import Database
from relayer.tenants.scopes import EVERY_SCOPE, Scope
from relayer.tenants.service import TenantService

from .conftest import KEYS, Caller, Engine, assert_problem


@pytest.mark.parametrize("tail", ["", "/output", "/receipt", "/history", "/attempts"])
async def test_anothers_job_is_as_unknown_as_one_that_never_was(
    acme: Caller, rival: Caller, engine: Engine, tail: str
) -> None:
    job = await acme.submitted()
    await engine.complete(job, b"secret")
    await engine.seal()
    await engine.confirm()
    assert (await acme.get(f"/v1/jobs/{job['id']}{tail}")).status_code == 200
    answers = []
    for text in (job["id"], f"job_{new_id()}", "job_x", job["id"].upper(), job["id"][4:], "job_%00"):
        body = assert_problem(await rival.get(f"/v1/jobs/{text}{tail}"), 404, "job_not_found")
        answers.append(
            {name: value for name, value in body.items() if name not in {"request_id", "instance"}}
        )
    assert all(answer == answers[0] for answer in answers)


async def test_lists_show_only_ones_own(acme: Caller, rival: Caller) -> None:
    mine, theirs = await acme.submitted(), await rival.submitted()
    assert [job["id"] for job in (await acme.get("/v1/jobs")).json()["data"]] == [mine["id"]]
    assert [job["id"] for job in (await rival.get("/v1/jobs")).json()["data"]] == [theirs["id"]]


async def test_anothers_blob_is_as_unknown_as_one_that_never_was(acme: Caller, rival: Caller) -> None:
    blob = (await acme.post("/v1/blobs", b"secret", content_type="text/plain")).json()["blob"]
    content = json.dumps({"kind": "digest", "input": {"blob": blob}}).encode()
    assert (await acme.submit(content)).status_code == 202
    assert_problem(await rival.submit(content), 422, "unknown_blob")
    assert (await rival.post("/v1/blobs", b"secret", content_type="text/plain")).json()["blob"] == blob
    assert (await rival.submit(content)).status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/jobs", Scope.JOBS_WRITE),
        ("GET", "/v1/jobs", Scope.JOBS_READ),
        ("GET", "/v1/jobs/job_x", Scope.JOBS_READ),
        ("GET", "/v1/jobs/job_x/output", Scope.JOBS_READ),
        ("GET", "/v1/jobs/job_x/receipt", Scope.JOBS_READ),
        ("GET", "/v1/jobs/job_x/history", Scope.JOBS_READ),
        ("GET", "/v1/jobs/job_x/attempts", Scope.JOBS_READ),
        ("POST", "/v1/jobs/job_x/cancel", Scope.JOBS_CANCEL),
        ("POST", "/v1/jobs/job_x/rerun", Scope.JOBS_WRITE),
        ("POST", "/v1/jobs:batch", Scope.JOBS_WRITE),
        ("GET", "/v1/dead-letters", Scope.JOBS_READ),
        ("POST", "/v1/dead-letters:redrive", Scope.JOBS_REDRIVE),
        ("GET", "/v1/dead-letters/redrives/rdr_x", Scope.JOBS_READ),
        ("GET", "/v1/keys", Scope.KEYS_READ),
        ("GET", "/v1/keys/key_x", Scope.KEYS_READ),
        ("POST", "/v1/keys", Scope.KEYS_WRITE),
        ("POST", "/v1/keys/key_x/rotate", Scope.KEYS_WRITE),
        ("DELETE", "/v1/keys/key_x", Scope.KEYS_WRITE),
        ("POST", "/v1/blobs", Scope.BLOBS_WRITE),
        ("GET", "/v1/blobs/sha256:x", Scope.BLOBS_WRITE),
        ("GET", "/v1/blobs/sha256:x/content", Scope.BLOBS_WRITE),
        ("DELETE", "/v1/blobs/sha256:x", Scope.BLOBS_WRITE),
    ],
)
async def test_a_key_does_only_what_its_scopes_allow(
    client: httpx2.AsyncClient, owner_db: Database, method: str, path: str, scope: Scope
) -> None:
    tenants = TenantService(owner_db, KEYS)
    key = await tenants.create_key(await tenants.create_tenant("narrow"), "ci", EVERY_SCOPE - {scope})
    answer = await client.request(method, path, headers={"Authorization": f"bearer {key.secret}"})
    assert assert_problem(answer, 403, "insufficient_scope")["meta"] == {"scope": scope}
    assert f'scope="{scope}"' in answer.headers["www-authenticate"]
