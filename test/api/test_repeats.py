"""Requests of keys and tenants that are repeated under an Idempotency-Key."""

import asyncio
from datetime import timedelta

import httpx2
import pytest

from relayer.store.database import Database

from .conftest import Body, Caller, assert_problem
from .operators import Operator

CI: Body = {"name": "ci", "scopes": ["jobs:read"]}


@pytest.fixture
def operator(client: httpx2.AsyncClient, operator_key: str) -> Operator:
    return Operator(client, operator_key)


def assert_replayed(answer: httpx2.Response, first: Body) -> None:
    """Check that the key of an earlier answer is given again, without its secret."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["idempotency-replayed"] == "true"
    assert answer.headers["cache-control"] == "no-store"
    assert "secret" not in answer.json()
    assert answer.json() == {name: value for name, value in first.items() if name != "secret"}


async def test_one_request_makes_one_key_and_its_secret_is_shown_once(acme: Caller) -> None:
    first = await acme.post_json("/v1/keys", CI, idempotency_key="one")
    assert first.status_code == 201
    assert "idempotency-replayed" not in first.headers
    key = first.json()
    # The same JSON, written differently.
    again = b'{"scopes" : ["jobs:read"],\n"name":"ci"}'
    answer = await acme.post("/v1/keys", again, content_type="application/json", idempotency_key='"one"')
    assert_replayed(answer, key)
    assert answer.headers["location"] == first.headers["location"]
    for other in ({"name": "cd"}, {"mode": "test"}):
        answer = await acme.post_json("/v1/keys", CI | other, idempotency_key="one")
        assert assert_problem(answer, 422, "idempotency_key_reused")["meta"] == {"idempotency_key": "one"}
    answer = await acme.post_json("/v1/keys", CI, idempotency_key="\x7f")
    assert_problem(answer, 400, "invalid_idempotency_key")
    assert (await acme.post_json("/v1/keys", CI, idempotency_key="two")).status_code == 201
    assert len(await acme.items("/v1/audit-events?action=api_key.created")) == 3


async def test_requests_that_race_make_one_key(acme: Caller) -> None:
    answers = await asyncio.gather(
        *(acme.post_json("/v1/keys", CI, idempotency_key="race") for _ in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(await acme.items("/v1/keys")) == 2


async def test_a_refused_request_leaves_its_key_free(acme: Caller, client: httpx2.AsyncClient) -> None:
    narrow = (await acme.post_json("/v1/keys", CI | {"scopes": ["keys:write"]})).json()
    maker = Caller(client, narrow["secret"])
    assert_problem(await maker.post_json("/v1/keys", CI, idempotency_key="one"), 403, "privilege_exceeded")
    assert (await acme.post_json("/v1/keys", CI, idempotency_key="one")).status_code == 201


async def test_a_request_key_is_its_tenants_own_and_of_its_time(
    acme: Caller, rival: Caller, owner_db: Database
) -> None:
    first = (await acme.post_json("/v1/keys", CI, idempotency_key="one")).json()
    other = await rival.post_json("/v1/keys", CI, idempotency_key="one")
    assert (other.status_code, other.json()["id"] != first["id"]) == (201, True)
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE idempotency_keys SET expires_at = now() - %s", [timedelta(seconds=1)])
    later = await acme.post_json("/v1/keys", CI, idempotency_key="one")
    assert (later.status_code, later.json()["id"] != first["id"]) == (201, True)


async def test_a_key_is_rotated_once(acme: Caller) -> None:
    old = (await acme.post_json("/v1/keys", CI)).json()
    path = f"/v1/keys/{old['id']}/rotate"
    first = (await acme.post_json(path, {"overlap_seconds": 0}, idempotency_key="one")).json()
    # The old key has ended by now, and the repeated request is answered all the same.
    assert_replayed(await acme.post_json(path, {"overlap_seconds": 0}, idempotency_key="one"), first)
    assert_problem(
        await acme.post_json(path, {"overlap_seconds": 1}, idempotency_key="one"),
        422,
        "idempotency_key_reused",
    )
    # How a secret that was lost with its answer is replaced.
    answer = await acme.post_json(f"/v1/keys/{first['id']}/rotate", {"overlap_seconds": 0})
    assert answer.json()["secret"] != first["secret"]


async def test_administration_repeats_what_it_did(operator: Operator) -> None:
    wanted = {"name": "acme", "plan": "free"}
    first = await operator.post_json("/v1/admin/tenants", wanted, idempotency_key="make")
    tenant = first.json()
    path = f"/v1/admin/tenants/{tenant['id']}"
    answer = await operator.post_json("/v1/admin/tenants", wanted, idempotency_key="make")
    assert (answer.status_code, answer.json()) == (201, tenant)
    assert answer.headers["idempotency-replayed"] == "true"
    assert answer.headers["location"] == first.headers["location"] == path
    assert_problem(await operator.post_json("/v1/admin/tenants", wanted), 409, "tenant_name_taken")
    answer = await operator.post_json("/v1/admin/tenants", wanted | {"weight": 2}, idempotency_key="make")
    assert_problem(answer, 422, "idempotency_key_reused")

    key = await operator.post_json(f"{path}/keys", CI, idempotency_key="key")
    assert_replayed(await operator.post_json(f"{path}/keys", CI, idempotency_key="key"), key.json())
    assert [one["id"] for one in await operator.items(f"{path}/keys")] == [key.json()["id"]]


async def test_a_late_repetition_undoes_nothing(operator: Operator) -> None:
    path = f"/v1/admin/tenants/{(await operator.made('acme'))['id']}"
    for action, value in (("suspend", {"reason": "unpaid"}), ("resume", None)):
        answer = await operator.post_json(f"{path}/{action}", value, idempotency_key="once")
        assert (answer.status_code, "idempotency-replayed" in answer.headers) == (200, False)
    answer = await operator.post_json(f"{path}/suspend", {"reason": "unpaid"}, idempotency_key="once")
    assert (answer.json()["state"], answer.headers["idempotency-replayed"]) == ("active", "true")
    assert answer.headers["etag"] == f'"{answer.json()["version"]}"'
    other = await operator.post_json(f"{path}/suspend", {"reason": "again"}, idempotency_key="once")
    assert_problem(other, 422, "idempotency_key_reused")
    await operator.post_json(f"{path}/suspend", {"reason": "unpaid"}, idempotency_key="twice")
    answer = await operator.post_json(f"{path}/resume", None, idempotency_key="once")
    assert (answer.json()["state"], answer.headers["idempotency-replayed"]) == ("suspended", "true")


async def test_the_role_of_administration_sees_request_keys_of_operators_only(
    acme: Caller, operator: Operator, admin_db: Database
) -> None:
    await acme.post_json("/v1/keys", CI, idempotency_key="of acme")
    await operator.post_json("/v1/admin/tenants", {"name": "new"}, idempotency_key="of operators")
    async with admin_db.statement() as conn:
        assert await (await conn.execute("SELECT key FROM idempotency_keys")).fetchall() == [
            ("of operators",)
        ]
