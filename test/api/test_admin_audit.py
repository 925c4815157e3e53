"""Every change by REST stands in the audit log, which its tenant can read and check."""

import hashlib
from collections import Counter

import httpx2
import pytest

from api.app import Settings, create_app
from relayer.seal.strict_json import canonical_json
from relayer.store.database import Database
from relayer.tenants.audit_log import AuditLog

from .conftest import Body, Caller, assert_problem, serving
from .operators import Operator


@pytest.fixture
def operator(client: httpx2.AsyncClient, operator_key: str) -> Operator:
    return Operator(client, operator_key)


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


async def test_refused_keys_are_on_record(
    acme: Caller, operator: Operator, settings: Settings, admin_db: Database
) -> None:
    async with serving(create_app(settings)) as client:
        wanted = {"name": "ci", "scopes": ["jobs:read"]}
        ended, narrow = [(await acme.post_json("/v1/keys", wanted)).json() for _ in range(2)]
        await acme.client.delete(f"/v1/keys/{ended['id']}", headers=acme.headers())
        assert_problem(await Caller(client, ended["secret"]).get("/v1/jobs"), 401, "api_key_invalid")
        form = {
            "grant_type": "client_credentials",
            "client_id": ended["id"],
            "client_secret": ended["secret"],
        }
        assert (await client.post("/oauth/token", data=form)).status_code == 401
        assert_problem(await Caller(client, narrow["secret"]).get("/v1/keys"), 403, "insufficient_scope")
        assert_problem(await Caller(client, "jsl_live_nothing").get("/v1/jobs"), 401, "api_key_invalid")
    # A process that stops writes what it has counted.
    refused = await acme.items("/v1/audit-events?action=api_key.refused")
    told = Counter[tuple[str, str]]()
    for event in refused:
        told[event["targets"][0]["id"], event["metadata"]["reason"]] += event["metadata"]["count"]
    # In how many events depends on how long all of this takes.
    assert told == {(ended["id"], "revoked"): 2, (narrow["id"], "insufficient_scope"): 1}
    assert {event["outcome"] for event in refused} == {"denied"}
    assert not any(event["redacted"] for event in refused)
    unknown = await operator.items("/v1/admin/audit-events?tenant=platform&action=credentials.refused")
    assert [event["metadata"]["count"] for event in unknown] == [1]
    verdicts = [verdict async for verdict in AuditLog(admin_db).verify_all()]
    assert not any(verdict.broken for verdict in verdicts)


def fingerprint(body: Body) -> str:
    return f"sha256:{hashlib.sha256(canonical_json(body)).hexdigest()}"
