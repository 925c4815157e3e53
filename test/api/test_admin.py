"""Administration by REST: only keys of the platform's own tenants get in, and every change stands in the audit log."""

import asyncio
import dataclasses
import hashlib
import json
from typing import Any

import httpx2
import psycopg
import pytest
from pydantic import SecretStr

from api.app import Settings, create_app
from relayer.model.ids import new_id
from relayer.seal.strict_json import canonical_json
from relayer.settings import AdminDatabaseSettings
from relayer.store.database import Database
from relayer.tenants.administration import Administration
from relayer.tenants.audit import Actor, ActorType, Origin
from relayer.tenants.audit_log import AuditLog
from relayer.tenants.plans import BOUNDS, PLANS
from relayer.tenants.scopes import ADMIN_SCOPES, EVERY_SCOPE, Scope
from relayer.tenants.service import TenantService

from .conftest import KEYS, Body, Caller, assert_problem, serving

CLI = Origin(Actor(ActorType.CLI, "cli:test@host"))


class Operator(Caller):
    """The platform's operator, with a key for all of administration."""

    async def made(self, name: str, **wanted: Any) -> Body:
        answer = await self.post_json("/v1/admin/tenants", {"name": name, **wanted})
        assert answer.status_code == 201, answer.text
        body: Body = answer.json()
        assert answer.headers["location"] == f"/v1/admin/tenants/{body['id']}"
        return body

    async def new_key(self, tenant: Body, **wanted: Any) -> Body:
        value = {"name": "test", "scopes": ["jobs:read", "jobs:write", "audit:read"]} | wanted
        answer = await self.post_json(f"/v1/admin/tenants/{tenant['id']}/keys", value)
        assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store"), answer.text
        body: Body = answer.json()
        return body

    async def patch(self, tenant: Body, value: Any, **headers: str) -> httpx2.Response:
        headers = {"content_type": "application/merge-patch+json"} | headers
        return await self.client.patch(
            f"/v1/admin/tenants/{tenant['id']}",
            content=json.dumps(value).encode(),
            headers=self.headers(**headers),
        )

    async def call(self, method: str, path: str, value: Any = None) -> httpx2.Response:
        content = None if value is None else json.dumps(value).encode()
        headers = self.headers(content_type="application/json")
        return await self.client.request(method, path, content=content, headers=headers)


@pytest.fixture
def settings(settings: Settings, urls: Any) -> Settings:
    return dataclasses.replace(settings, admin_database=AdminDatabaseSettings(url=SecretStr(urls.admin)))


@pytest.fixture
async def operator(client: httpx2.AsyncClient, admin_db: Database) -> Operator:
    tenant = await Administration(admin_db).create("operator", CLI, is_operator=True)
    key = await TenantService(admin_db, KEYS).create_key(tenant.id, "test", EVERY_SCOPE | ADMIN_SCOPES)
    return Operator(client, key.secret)


async def test_a_tenant_is_made_with_a_plan_found_and_listed(operator: Operator) -> None:
    small = await operator.made("small", plan="free")
    assert small == {
        "id": small["id"],
        "name": "small",
        "state": "active",
        "plan": "free",
        "weight": 1,
        "limits": PLANS["free"].to_document(),
        "limits_beside_plan": [],
        "is_operator": False,
        "suspended_at": None,
        "suspension_reason": None,
        "version": 1,
        "created_at": small["created_at"],
    }
    large = await operator.made("large-one", weight=7, limits={"jobs_per_day": 5, "running_jobs": None})
    assert (large["plan"], large["weight"], large["limits_beside_plan"]) == ("standard", 7, ["jobs_per_day"])
    assert large["limits"] == PLANS["standard"].to_document() | {"jobs_per_day": 5}

    shown = await operator.get(f"/v1/admin/tenants/{large['id']}")
    assert (shown.json(), shown.headers["etag"]) == (large, '"1"')
    assert (await operator.get(f"/v1/admin/tenants/{large['id']}/usage")).json() == {
        "storage_bytes": 0,
        "running_jobs": 0,
        "waiting_jobs": 0,
    }
    pages = [page async for page in operator.pages("/v1/admin/tenants?page_size=2")]
    assert [[tenant["name"] for tenant in page] for page in pages] == [["large-one", "small"], ["operator"]]
    for query, names in {
        "name=large": ["large-one"],
        "name=e-o": ["large-one"],
        "plan=free": ["small"],
        "state=suspended": [],
        "state=active&plan=standard": ["large-one", "operator"],
    }.items():
        assert [one["name"] for one in await operator.items(f"/v1/admin/tenants?{query}")] == names

    body = assert_problem(
        await operator.post_json("/v1/admin/tenants", {"name": "small"}), 409, "tenant_name_taken"
    )
    assert body["meta"] == {"name": "small", "tenant": small["id"]}
    plans = (await operator.get("/v1/admin/plans")).json()["data"]
    assert plans == [{"name": name, "limits": limits.to_document()} for name, limits in PLANS.items()]


async def test_a_patch_changes_what_it_names(operator: Operator) -> None:
    tenant = await operator.made("acme")
    answer = await operator.patch(tenant, {"weight": 3, "limits": {"reads_burst": 7}})
    changed = answer.json()
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    assert changed == tenant | {
        "weight": 3,
        "version": 2,
        "limits": tenant["limits"] | {"reads_burst": 7},
        "limits_beside_plan": ["reads_burst"],
    }
    # What is so already is no change.
    no_changes: list[Body] = [{}, {"weight": 3}, {"limits": {"reads_burst": 7}}, {"limits": {}}]
    for same in no_changes:
        assert (await operator.patch(tenant, same)).json() == changed
    # A plan brings all its numbers, then those of the patch are written.
    moved = (await operator.patch(tenant, {"plan": "free", "limits": {"waiting_jobs": 9}})).json()
    assert moved["limits"] == PLANS["free"].to_document() | {"waiting_jobs": 9}
    assert (moved["limits_beside_plan"], moved["weight"]) == (["waiting_jobs"], 3)
    one_back = (await operator.patch(tenant, {"limits": {"waiting_jobs": None}})).json()
    assert one_back["limits"] == PLANS["free"].to_document()
    await operator.patch(tenant, {"limits": {"jobs_per_day": 0, "storage_bytes": 1}})
    all_back = await operator.patch(tenant, {"limits": None}, content_type="application/json")
    assert all_back.json()["limits_beside_plan"] == []

    for tags, status in {'"1"': 412, 'W/"6"': 412, '"x"': 412, '"1", "6"': 200, "*": 200}.items():
        answer = await operator.patch(tenant, {"weight": 3}, if_match=tags)
        assert answer.status_code == status, tags
    body = assert_problem(await operator.patch(tenant, {}, if_match='"1"'), 412, "precondition_failed")
    assert body["meta"] == {"version": 6}
    assert_problem(await operator.patch(tenant, {}, if_match="6"), 400, "invalid_parameter")


async def test_bad_input_is_refused_by_its_place(operator: Operator) -> None:
    tenant = await operator.made("acme")
    for value, pointer in (
        ({"plan": "gold"}, "/plan"),
        ({"plan": None}, "/plan"),
        ({"weight": 0}, "/weight"),
        ({"weight": 101}, "/weight"),
        ({"weight": "3"}, "/weight"),
        ({"weight": True}, "/weight"),
        ({"name": "other"}, "/name"),
        ({"is_operator": True}, "/is_operator"),
        ({"limits": {"jobs": 1}}, "/limits/jobs"),
        *(
            ({"limits": {name: number}}, f"/limits/{name}")
            for name, (least, most) in BOUNDS.items()
            for number in (least - 1, most + 1)
            if number <= 2**53 - 1
        ),
    ):
        body = assert_problem(await operator.patch(tenant, value), 422, "invalid_body")
        assert [fault["pointer"] for fault in body["errors"]] == [pointer], value
    for name in ("", "Acme", "-acme", "a" * 64, "a b", "a\n"):
        assert_problem(await operator.post_json("/v1/admin/tenants", {"name": name}), 422, "invalid_body")
    for limits in (
        {name: least for name, (least, _) in BOUNDS.items()},
        {n: m for n, (_, m) in BOUNDS.items()},
    ):
        assert (await operator.patch(tenant, {"limits": limits})).json()["limits"] == limits
    for path in ("", "/usage"):
        for unknown in (f"tnt_{new_id()}", "tnt_x", tenant["id"].upper(), f"key_{new_id()}"):
            assert_problem(await operator.get(f"/v1/admin/tenants/{unknown}{path}"), 404, "tenant_not_found")
    for query in ("page_size=-1", "plan=gold", "state=x", "name=A", "more=1"):
        assert_problem(await operator.get(f"/v1/admin/tenants?{query}"), 400, "invalid_parameter")
    assert_problem(await operator.get("/v1/admin/audit-events?tenant=x"), 400, "invalid_parameter")


async def test_kinds_are_capped_over_all_tenants(operator: Operator, admin_db: Database) -> None:
    path = "/v1/admin/kind-caps"
    assert (await operator.get(path)).json() == {"data": []}
    for cap in (3, 0, 0):
        answer = await operator.call("PUT", f"{path}/digest", {"running_jobs": cap})
        assert answer.json() == {"kind": "digest", "running_jobs": cap}
    # A kind may be named as it likes.
    assert (await operator.call("PUT", f"{path}/a%2Fb/c", {"running_jobs": 1})).json()["kind"] == "a/b/c"
    assert [cap["kind"] for cap in (await operator.get(path)).json()["data"]] == ["a/b/c", "digest"]
    for value in ({}, {"running_jobs": -1}, {"running_jobs": 2**31}, {"running_jobs": None}):
        assert_problem(await operator.call("PUT", f"{path}/digest", value), 422, "invalid_body")
    assert_problem(await operator.call("PUT", f"{path}/{'k' * 65}", {"running_jobs": 1}), 422, "invalid_body")
    assert (await operator.call("DELETE", f"{path}/digest")).status_code == 204
    assert_problem(await operator.call("DELETE", f"{path}/digest"), 404, "kind_cap_not_found")
    events = await operator.items("/v1/admin/audit-events?tenant=platform")
    assert [(event["action"], event["targets"][0]["id"]) for event in events] == [
        ("kind_cap.cleared", "digest"),
        ("kind_cap.set", "a/b/c"),
        ("kind_cap.set", "digest"),
        ("kind_cap.set", "digest"),
    ]
    assert events[3]["before_hash"] is None
    assert events[0]["before_hash"] == events[2]["after_hash"]
    assert events[0]["after_hash"] is None
    async with admin_db.transaction() as conn:
        rows = await (await conn.execute("SELECT kind, running_cap FROM kind_caps")).fetchall()
    assert rows == [("a/b/c", 1)]


async def test_every_change_is_audited_with_its_actor(operator: Operator, admin_db: Database) -> None:
    tenant = await operator.made("acme")
    answer = await operator.patch(tenant, {"weight": 3, "limits": {"jobs_per_day": 1}}, user_agent="tester/1")
    after = answer.json()
    changed, created = await operator.items(f"/v1/admin/audit-events?tenant={tenant['id']}")
    assert (created["action"], created["tenant_id"], created["before_hash"]) == (
        "tenant.created",
        tenant["id"],
        None,
    )
    assert created["after_hash"] == changed["before_hash"] == fingerprint(tenant)
    assert changed["after_hash"] == fingerprint(after)
    assert changed["targets"] == [{"type": "tenant", "id": tenant["id"], "name": "acme"}]
    assert changed["metadata"] == {"changed": ["limits.jobs_per_day", "weight"]}
    assert changed["actor"]["type"] == "operator"
    assert changed["actor"]["id"].startswith("key_")
    assert changed["context"] == {
        "address": "127.0.0.1",
        "user_agent": "tester/1",
        "request_id": answer.headers["request-id"],
    }
    verdicts = [verdict async for verdict in AuditLog(admin_db).verify_all()]
    assert [verdict.broken for verdict in verdicts] == [None, None]


async def test_a_suspended_tenant_is_told_so_until_it_is_resumed(
    operator: Operator, client: httpx2.AsyncClient
) -> None:
    tenant = await operator.made("acme")
    path = f"/v1/admin/tenants/{tenant['id']}"
    acme = Caller(client, (await operator.new_key(tenant))["secret"])
    assert (await acme.get("/v1/jobs")).status_code == 200
    for wrong in ({}, {"reason": ""}, {"reason": "r" * 201}, {"reason": "a\nb"}, {"reason": 1}):
        assert_problem(await operator.post_json(f"{path}/suspend", wrong), 422, "invalid_body")
    suspended = (await operator.post_json(f"{path}/suspend", {"reason": "unpaid"})).json()
    assert (suspended["state"], suspended["suspension_reason"], suspended["version"]) == (
        "suspended",
        "unpaid",
        2,
    )
    assert (await operator.post_json(f"{path}/suspend", {"reason": "again"})).json() == suspended
    assert [one["id"] for one in await operator.items("/v1/admin/tenants?state=suspended")] == [tenant["id"]]
    await eventually(acme, 403)
    for method, of_acme in (("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("GET", "/v1/audit-events")):
        answer = await client.request(method, of_acme, headers=acme.headers())
        assert assert_problem(answer, 403, "tenant_suspended")["meta"] == {"reason": "unpaid"}
    for _ in range(2):
        resumed = (await operator.post_json(f"{path}/resume", None)).json()
        assert (resumed["state"], resumed["suspended_at"], resumed["version"]) == ("active", None, 3)
    await eventually(acme, 200)
    actions = [event["action"] for event in await acme.items("/v1/audit-events")]
    assert actions == ["tenant.resumed", "tenant.suspended", "api_key.created", "tenant.created"]
    own = (await operator.items("/v1/admin/tenants?name=operator"))[0]
    refused = await operator.post_json(f"/v1/admin/tenants/{own['id']}/suspend", {"reason": "x"})
    assert_problem(refused, 409, "operator_tenant")


async def test_keys_of_any_tenant_are_made_listed_and_revoked(
    operator: Operator, client: httpx2.AsyncClient
) -> None:
    tenant, rival = await operator.made("acme"), await operator.made("rival")
    key = await operator.new_key(tenant, name="ci", scopes=["jobs:read", "keys:write", "audit:read"])
    await operator.new_key(rival)
    acme = Caller(client, key["secret"])
    own = (await acme.post_json("/v1/keys", {"name": "own", "scopes": ["jobs:read"]})).json()
    rotated = (await acme.post_json(f"/v1/keys/{own['id']}/rotate", {"overlap_seconds": 0})).json()
    path = f"/v1/admin/tenants/{tenant['id']}/keys"
    pages = [page async for page in operator.pages(f"{path}?page_size=2")]
    assert [[one["name"] for one in page] for page in pages] == [["own", "own"], ["ci"]]
    assert "secret" not in pages[0][0]
    for _ in range(2):
        assert (await operator.call("DELETE", f"/v1/admin/keys/{rotated['id']}")).status_code == 204

    for unknown in (f"key_{new_id()}", "key_x", tenant["id"]):
        assert_problem(await operator.call("DELETE", f"/v1/admin/keys/{unknown}"), 404, "key_not_found")
    nobody = f"/v1/admin/tenants/tnt_{new_id()}/keys"
    assert_problem(await operator.get(nobody), 404, "tenant_not_found")
    wanted = {"name": "ci", "scopes": ["jobs:read"]}
    assert_problem(await operator.post_json(nobody, wanted), 404, "tenant_not_found")
    body = assert_problem(
        await operator.post_json(path, {"name": "root", "scopes": ["admin:read"]}), 422, "invalid_body"
    )
    assert [fault["pointer"] for fault in body["errors"]] == ["/scopes"]

    events = await operator.items(f"/v1/admin/audit-events?tenant={tenant['id']}")
    assert [(event["action"], event["actor"]["type"]) for event in events] == [
        ("api_key.revoked", "operator"),
        ("api_key.rotated", "api_key"),
        ("api_key.created", "api_key"),
        ("api_key.created", "operator"),
        ("tenant.created", "operator"),
    ]
    assert (events[1]["actor"]["id"], events[1]["actor"]["name"]) == (key["id"], "ci")
    assert [target["id"] for target in events[1]["targets"]] == [rotated["id"], own["id"]]
    assert events[2]["metadata"]["scopes"] == ["jobs:read"]
    assert rotated["secret"] not in json.dumps(events)
    assert rotated["secret"][-30:-4] not in json.dumps(events)
    # What its own keys did the tenant sees whole; what the platform did, without who.
    shown = await acme.items("/v1/audit-events")
    assert [event["redacted"] for event in shown] == [True, False, False, True, True]
    assert shown[1] == events[1]


async def eventually(caller: Caller, status: int) -> None:
    """Ask until the news of a change has come, which it does by itself."""
    for _ in range(500):
        if (await caller.get("/v1/jobs")).status_code == status:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"no {status} within 5 s")


async def test_a_tenant_reads_its_own_log_and_can_check_it(
    operator: Operator, client: httpx2.AsyncClient
) -> None:
    tenant = await operator.made("acme")
    await operator.made("rival")
    await operator.patch(tenant, {"weight": 3})
    acme = Caller(client, (await operator.new_key(tenant))["secret"])
    events = await acme.items("/v1/audit-events?page_size=1")
    assert [event["action"] for event in events] == ["api_key.created", "tenant.changed", "tenant.created"]
    assert {event["tenant_id"] for event in events} == {tenant["id"]}
    # Who of the platform acted, and from where, is not the tenant's concern.
    for event in events:
        assert event["redacted"]
        assert event["actor"] == {"type": "operator", "id": None, "name": None}
        assert event["context"] == {"address": None, "user_agent": None, "request_id": None}
    assert await acme.items("/v1/audit-events?action=tenant.created") == events[2:]
    assert await acme.items(f"/v1/audit-events?target={tenant['id']}") == events[1:]
    assert await acme.items("/v1/audit-events?occurred_to=2020-01-01T00:00:00Z") == []
    assert_problem(await acme.get(f"/v1/audit-events?tenant={tenant['id']}"), 400, "invalid_parameter")

    whole = await operator.items(f"/v1/admin/audit-events?tenant={tenant['id']}&page_size=1")
    before = bytes(32)
    for event in reversed(whole):
        text = {k: v for k, v in event.items() if k not in {"seq", "hash", "previous_hash", "redacted"}}
        assert event["previous_hash"] in {None, f"0x{before.hex()}"}
        before = hashlib.sha256(before + canonical_json(text)).digest()
        assert event["hash"] == f"0x{before.hex()}"
    assert [event["hash"] for event in events] == [event["hash"] for event in whole]


async def test_only_the_scopes_of_administration_get_in(
    operator: Operator, client: httpx2.AsyncClient, admin_db: Database
) -> None:
    tenant = await operator.made("acme")
    service = TenantService(admin_db, KEYS)
    operators = await service.find_tenant("operator")
    assert operators is not None
    read = Operator(client, (await service.create_key(operators, "r", [Scope.ADMIN_READ])).secret)
    write = Operator(client, (await service.create_key(operators, "w", [Scope.ADMIN_WRITE])).secret)
    acme = Operator(client, (await service.create_key(await find(service, "acme"), "a")).secret)
    one = f"/v1/admin/tenants/{tenant['id']}"
    for method, path, scope in (
        ("GET", "/v1/admin/tenants", Scope.ADMIN_READ),
        ("GET", one, Scope.ADMIN_READ),
        ("GET", f"{one}/usage", Scope.ADMIN_READ),
        ("GET", "/v1/admin/plans", Scope.ADMIN_READ),
        ("GET", "/v1/admin/kind-caps", Scope.ADMIN_READ),
        ("GET", "/v1/admin/audit-events", Scope.ADMIN_READ),
        ("POST", "/v1/admin/tenants", Scope.ADMIN_WRITE),
        ("PATCH", one, Scope.ADMIN_WRITE),
        ("GET", f"{one}/keys", Scope.ADMIN_READ),
        ("POST", f"{one}/keys", Scope.ADMIN_WRITE),
        ("DELETE", "/v1/admin/keys/key_x", Scope.ADMIN_WRITE),
        ("POST", f"{one}/suspend", Scope.ADMIN_WRITE),
        ("POST", f"{one}/resume", Scope.ADMIN_WRITE),
        ("PUT", "/v1/admin/kind-caps/digest", Scope.ADMIN_WRITE),
        ("DELETE", "/v1/admin/kind-caps/digest", Scope.ADMIN_WRITE),
    ):
        for caller in (acme, write if scope is Scope.ADMIN_READ else read):
            body = assert_problem(await caller.call(method, path, {}), 403, "insufficient_scope")
            assert body["meta"] == {"scope": scope}
        assert_problem(await client.request(method, path), 401, "api_key_missing")
    narrow = Caller(client, (await service.create_key(operators, "n", [Scope.JOBS_READ])).secret)
    body = assert_problem(await narrow.get("/v1/audit-events"), 403, "insufficient_scope")
    assert body["meta"] == {"scope": Scope.AUDIT_READ}


async def test_the_role_makes_no_key_of_administration_for_a_tenant(
    operator: Operator, admin_db: Database
) -> None:
    """The database holds to it what the service is to see to."""
    tenant = await operator.made("acme")
    insert = """INSERT INTO api_keys (id, tenant_id, name, digest, pepper_version, last4, scopes, created_at, expires_at)
                VALUES (gen_random_uuid(), %s, 'root', sha256('root'), 1, 'root', %s, now(), now() + interval '1 d')"""
    for statement, values in (
        (insert, (tenant["id"][4:], ["admin:write"])),
        ("SELECT digest FROM api_keys", ()),
        ("UPDATE api_keys SET scopes = ARRAY['admin:write']", ()),
        ("SELECT input FROM jobs", ()),
        ("SELECT id FROM jobs", ()),
        ("DELETE FROM tenants", ()),
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with admin_db.transaction() as conn:
                await conn.execute(statement.encode(), values)


async def test_a_process_without_the_role_has_no_such_paths(operator: Operator, settings: Settings) -> None:
    async with serving(create_app(dataclasses.replace(settings, admin_database=None))) as plain:
        nowhere = assert_problem(await plain.get("/v1/nowhere"), 404, "not_found")
        for caller in (Operator(plain, operator.secret), Operator(plain, "x")):
            for method, path in (("GET", "/v1/admin/tenants"), ("PUT", "/v1/admin/kind-caps/digest")):
                body = assert_problem(await caller.call(method, path, {}), 404, "not_found")
                assert body["detail"] == nowhere["detail"]


async def find(service: TenantService, name: str) -> Any:
    tenant = await service.find_tenant(name)
    assert tenant is not None
    return tenant


def fingerprint(body: Body) -> str:
    return f"sha256:{hashlib.sha256(canonical_json(body)).hexdigest()}"
