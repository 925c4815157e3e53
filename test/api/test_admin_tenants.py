"""Tenants, plans and the caps of kinds by REST."""

import asyncio

import httpx2
import pytest

from relayer.model.ids import new_id
from relayer.store.database import Database
from relayer.tenants.audit_log import AuditLog
from relayer.tenants.plans import BOUNDS, PLANS

from .conftest import Body, assert_problem
from .operators import Operator


@pytest.fixture
def operator(client: httpx2.AsyncClient, operator_key: str) -> Operator:
    return Operator(client, operator_key)


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


async def test_of_many_patches_of_one_version_one_is_taken(operator: Operator, admin_db: Database) -> None:
    tenant = await operator.made("acme")
    answers = await asyncio.gather(
        *(operator.patch(tenant, {"weight": weight}, if_match='"1"') for weight in range(2, 12))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9
    assert [one.broken async for one in AuditLog(admin_db).verify_all()] == [None, None]
    shown = (await operator.get(f"/v1/admin/tenants/{tenant['id']}")).json()
    assert (shown["version"], len(await operator.items(f"/v1/admin/audit-events?tenant={tenant['id']}"))) == (
        2,
        2,
    )


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
    answer = await operator.call("PUT", f"{path}/{'k' * 65}", {"running_jobs": 1})
    assert assert_problem(answer, 400, "invalid_parameter")["errors"][0]["parameter"] == "kind"
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


async def test_kinds_are_given_lanes(operator: Operator) -> None:
    path = "/v1/admin/kind-lanes"
    assert (await operator.get(path)).json() == {"data": []}
    for lane in (3, 3, 31):
        answer = await operator.call("PUT", f"{path}/digest", {"lane": lane})
        assert answer.json() == {"kind": "digest", "lane": lane}
    assert (await operator.call("PUT", f"{path}/a%2Fb/c", {"lane": 1})).json()["kind"] == "a/b/c"
    assert (await operator.get(path)).json() == {
        "data": [{"kind": "a/b/c", "lane": 1}, {"kind": "digest", "lane": 31}]
    }
    for value in ({}, {"lane": -1}, {"lane": 32}, {"lane": None}, {"lane": 1, "more": 1}):
        assert_problem(await operator.call("PUT", f"{path}/digest", value), 422, "invalid_body")
    answer = await operator.call("PUT", f"{path}/{'k' * 65}", {"lane": 1})
    assert assert_problem(answer, 400, "invalid_parameter")["errors"][0]["parameter"] == "kind"
    assert (await operator.call("PUT", f"{path}/digest", {"lane": 0})).json()["lane"] == 0
    assert [one["kind"] for one in (await operator.get(path)).json()["data"]] == ["a/b/c"]
    events = await operator.items("/v1/admin/audit-events?tenant=platform")
    assert [(event["action"], event["targets"][0]["id"], event["metadata"]) for event in events] == [
        ("kind_lane.set", "digest", {"lane": 0}),
        ("kind_lane.set", "a/b/c", {"lane": 1}),
        ("kind_lane.set", "digest", {"lane": 31}),
        ("kind_lane.set", "digest", {"lane": 3}),
    ]
    assert events[3]["before_hash"] == events[0]["after_hash"]
