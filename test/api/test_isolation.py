"""Every operation that takes an id, as another tenant: the same answer, byte for byte, as for an id that never was.

That is 404, and 403 where only the platform's operator may ask at all; to whom it belongs, it is there. The operations are those of the description. A parameter that has no recipe here fails the test: add one to `RECIPES`,
and to `BODIES` what the operation needs besides.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from api.reference.document import OAUTH, operations
from relayer.model.ids import new_id

from .conftest import Body, Caller, Engine
from .operators import Operator

Recipe = Callable[[Caller, Operator, Engine], Awaitable[tuple[str, str]]]


async def _job(caller: Caller, _: Operator, engine: Engine) -> tuple[str, str]:
    """A job that has everything that a job can have."""
    job = await caller.submitted()
    await engine.complete(job, b"secret")
    await engine.seal()
    await engine.confirm()
    return job["id"], f"job_{new_id()}"


async def _blob(caller: Caller, *_: object) -> tuple[str, str]:
    blob = (await caller.post("/v1/blobs", b"secret", content_type="text/plain")).json()["blob"]
    return blob, f"sha256:{'5d' * 32}"


async def _redrive(caller: Caller, _: Operator, engine: Engine) -> tuple[str, str]:
    await engine.fail(await caller.submitted())
    asked = await caller.post_json("/v1/dead-letters:redrive", {"filter": {"all": True}})
    return asked.json()["id"], f"rdr_{new_id()}"


async def _key(caller: Caller, *_: object) -> tuple[str, str]:
    made = await caller.post_json("/v1/keys", {"name": "secret", "scopes": ["jobs:read"]})
    return made.json()["id"], f"key_{new_id()}"


async def _tenant(_: Caller, operator: Operator, __: Engine) -> tuple[str, str]:
    return (await operator.made("secret"))["id"], f"tnt_{new_id()}"


async def _kind(_: Caller, operator: Operator, __: Engine) -> tuple[str, str]:
    await operator.call("PUT", "/v1/admin/kind-caps/secret", {"running_jobs": 1})
    return "secret", "absent"


RECIPES: dict[str, Recipe] = {
    "job_id": _job,
    "blob": _blob,
    "redrive_id": _redrive,
    "key_id": _key,
    "tenant_id": _tenant,
    "kind": _kind,
}
"""By path parameter: makes one of a tenant's, or of the platform's, and gives its id and one like it that never was."""

BODIES: dict[str, Body] = {
    "rotate_key": {"overlap_seconds": 60},
    "create_tenant_key": {"name": "secret", "scopes": ["jobs:read"]},
    "change_tenant": {"weight": 2},
    "suspend_tenant": {"reason": "secret"},
    "set_kind_cap": {"running_jobs": 2},
    "set_kind_lane": {"lane": 2},
}
"""By operationId: the JSON body of an operation that takes an id and needs one."""

# What differs between any two answers.
_OWN = {"request_id", "instance"}
_OWN_HEADERS = {"request-id", "date"}


def _comparable(answer: httpx2.Response) -> tuple[int, dict[str, str], Any]:
    headers = {name: value for name, value in answer.headers.items() if name not in _OWN_HEADERS}
    body = {name: value for name, value in answer.json().items() if name not in _OWN}
    return answer.status_code, headers, body


async def _call(caller: Caller, method: str, path: str, body: Body | None) -> httpx2.Response:
    headers = caller.headers()
    if body is not None:
        headers["Content-Type"] = "application/json"
    content = None if body is None else json.dumps(body).encode()
    return await caller.client.request(method, path, headers=headers, content=content)


async def test_anothers_is_as_unknown_as_what_never_was(
    client: httpx2.AsyncClient, acme: Caller, rival: Caller, engine: Engine, operator_key: str
) -> None:
    operator = Operator(client, operator_key)
    document = (await client.get("/openapi.json")).json()
    made: dict[str, tuple[str, str]] = {}
    walked: list[tuple[Caller, str, str, str]] = []
    lists = []
    for path, method, operation in operations(document):
        names = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"]
        scopes = [scope for way in operation["security"] for scope in way.get(OAUTH, ())]
        is_administration = any(scope.startswith("admin:") for scope in scopes)
        if not names and scopes and method == "get" and not is_administration:
            lists.append(path)
        if not names or not scopes:
            continue
        for name in names:
            assert name in RECIPES, f"{method.upper()} {path}: add a recipe for {name}"
            if name not in made:
                made[name] = await RECIPES[name](acme, operator, engine)
        theirs, never = (path.format(**{name: made[name][n] for name in names}) for n in (0, 1))
        body = BODIES.get(operation["operationId"])
        assert body is not None or not operation.get("requestBody", {}).get("required"), (
            f"{method.upper()} {path}: add a body to BODIES"
        )
        answers = [_comparable(await _call(rival, method, one, body)) for one in (theirs, never)]
        assert answers[0] == answers[1], f"{method.upper()} {path}"
        assert answers[0][0] == (403 if is_administration else 404), f"{method.upper()} {path}"
        walked.append((operator if is_administration else acme, method, theirs, operation["operationId"]))
    for path in lists:
        shown = (await rival.get(path)).text
        assert not any(theirs in shown for theirs, _ in made.values()), path
    # To its owner it is there; what deletes comes last.
    for owner, method, path, name in sorted(walked, key=lambda one: one[1] == "delete"):
        answer = await _call(owner, method, path, BODIES.get(name))
        assert answer.status_code not in {403, 404}, name
    assert len(walked) >= 24
    assert {"/v1/jobs", "/v1/keys", "/v1/usage", "/v1/audit-events"} < {*lists}


async def test_anothers_id_in_a_body_is_as_unknown_as_one_that_never_was(
    acme: Caller, rival: Caller, engine: Engine
) -> None:
    job = await acme.submitted()
    await engine.fail(job)
    blob, no_blob = await _blob(acme)
    cases: list[tuple[str, Callable[[str], Body], str, str]] = [
        (
            "/v1/dead-letters:redrive",
            lambda one: {"filter": {"job_ids": [one]}, "dry_run": True},
            job["id"],
            f"job_{new_id()}",
        ),
        (
            "/v1/jobs?validate_only=true",
            lambda one: {"kind": "digest", "input": {"blob": one}},
            blob,
            no_blob,
        ),
        (
            "/v1/jobs:batch",
            lambda one: {"jobs": [{"idempotency_key": "k", "kind": "digest", "input": {"blob": one}}]},
            blob,
            no_blob,
        ),
    ]
    for path, write, theirs, never in cases:
        texts = []
        for one in (theirs, never):
            answer = await rival.post_json(path, write(one))
            texts.append(answer.text.replace(one, "ID").replace(answer.headers["request-id"], "REQUEST"))
        assert texts[0] == texts[1], path
