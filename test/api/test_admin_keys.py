"""Whose keys administer, and what becomes of the keys of tenants."""

import asyncio
import dataclasses
import json
from typing import Any

import httpx2
import psycopg
import pytest

from api.app import Settings, create_app
from relayer.model.ids import new_id
from relayer.store.database import Database
from relayer.tenants.scopes import Scope
from relayer.tenants.service import TenantService

from .conftest import KEYS, Caller, assert_problem, serving
from .operators import Operator


@pytest.fixture
def operator(client: httpx2.AsyncClient, operator_key: str) -> Operator:
    return Operator(client, operator_key)


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


async def test_an_operators_key_makes_none_that_may_more_than_itself(
    operator: Operator, client: httpx2.AsyncClient
) -> None:
    own = (await operator.items("/v1/admin/tenants?name=operator"))[0]
    narrow = await operator.new_key(own, scopes=["admin:write"], allowed_addresses=["127.0.0.0/8"])
    climber = Operator(client, narrow["secret"])
    path = f"/v1/admin/tenants/{own['id']}/keys"
    for wanted in ({"scopes": ["admin:read", "admin:write"]}, {"allowed_addresses": ["0.0.0.0/0"]}):
        value = {"name": "wider", "scopes": ["admin:write"]} | wanted
        assert_problem(await climber.post_json(path, value), 403, "privilege_exceeded")
    # What is left out is as the maker has it.
    made = await climber.new_key(own, scopes=["admin:write"])
    assert made["allowed_addresses"] == ["127.0.0.0/8"]
    # For other tenants he is bound by the tenant alone.
    assert await climber.new_key(await operator.made("acme"))
