"""Keys over HTTP."""

from datetime import timedelta

import httpx2

from api.app import Settings, create_app
from relayer.model.clock import utc_now
from relayer.model.ids import from_public, new_id
from relayer.store.database import Database
from relayer.tenants.keys import is_well_formed
from relayer.tenants.plans import PLANS
from relayer.tenants.scopes import EVERY_SCOPE

from .conftest import Body, Caller, assert_problem, new_key, serving, until_heard

UNKNOWN = f"key_{new_id()}"


async def made(caller: Caller, **wanted: object) -> Body:
    body = {"name": "ci", "scopes": ["jobs:read"]} | wanted
    answer = await caller.post_json("/v1/keys", body)
    assert answer.status_code == 201, answer.text
    result: Body = answer.json()
    return result


async def test_a_key_is_made_shown_once_used_and_listed(acme: Caller, client: httpx2.AsyncClient) -> None:
    answer = await acme.post_json(
        "/v1/keys",
        {
            "name": "ci",
            "scopes": ["jobs:read", "jobs:read", "keys:read"],
            "expires_at": (utc_now() + timedelta(days=10)).isoformat(),
            "mode": "test",
            "allowed_addresses": ["127.0.0.1", "2001:DB8::/32"],
        },
    )
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    key = answer.json()
    secret = key.pop("secret")
    assert is_well_formed(secret)
    assert answer.headers["location"] == f"/v1/keys/{key['id']}"
    assert (key["mode"], key["state"], key["last4"]) == ("test", "live", secret[-4:])
    assert key["scopes"] == ["jobs:read", "keys:read"]
    assert key["allowed_addresses"] == ["127.0.0.1/32", "2001:db8::/32"]
    assert key["last_used_at"] is key["revoked_at"] is key["rotated_from"] is None
    user = Caller(client, secret)
    read = await user.get(answer.headers["location"])
    assert (read.status_code, read.json()) == (200, key)
    listed = await user.items("/v1/keys?page_size=1")
    assert listed[0] == key
    assert len(listed) == 2
    assert all("secret" not in one and "digest" not in one for one in listed)


async def test_what_a_key_cannot_be(acme: Caller) -> None:
    good: Body = {"name": "ci", "scopes": ["jobs:read"]}
    now = utc_now()
    for change, pointer in (
        ({"name": ""}, "/name"),
        ({"name": "a\n"}, "/name"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["jobs:all"]}, "/scopes/0"),
        ({"scopes": "jobs:read"}, "/scopes"),
        ({"expires_at": now.isoformat()}, "/expires_at"),
        ({"expires_at": (now + timedelta(days=366)).isoformat()}, "/expires_at"),
        ({"mode": "prod"}, "/mode"),
        ({"allowed_addresses": ["10.0.0.1/8"]}, "/allowed_addresses/0"),
        ({"allowed_addresses": ["fe80::1%eth0"]}, "/allowed_addresses/0"),
        ({"allowed_addresses": ["10.0.0.0/8"] * 51}, "/allowed_addresses"),
        ({"tenant": "other"}, "/tenant"),
    ):
        body = assert_problem(await acme.post_json("/v1/keys", good | change), 422, "invalid_body")
        assert body["errors"][0]["pointer"] == pointer, change
    for overlap in (-1, 7 * 86_400 + 1, "PT1H", 1.5):
        answer = await acme.post_json(f"/v1/keys/{UNKNOWN}/rotate", {"overlap_seconds": overlap})
        assert_problem(answer, 422, "invalid_body")


async def test_a_key_makes_none_that_may_more_than_itself(acme: Caller, client: httpx2.AsyncClient) -> None:
    maker = Caller(
        client, (await made(acme, scopes=["keys:write"], allowed_addresses=["127.0.0.0/8"]))["secret"]
    )
    wide = {"name": "wide", "scopes": ["keys:write", "jobs:read"]}
    body = assert_problem(await maker.post_json("/v1/keys", wide), 403, "privilege_exceeded")
    assert body["errors"][0]["pointer"] == "/scopes/1"
    wide = {"name": "wide", "scopes": ["keys:write"], "allowed_addresses": ["0.0.0.0/0"]}
    body = assert_problem(await maker.post_json("/v1/keys", wide), 403, "privilege_exceeded")
    assert body["errors"][0]["pointer"] == "/allowed_addresses/0"
    assert (await made(maker, scopes=["keys:write"]))["allowed_addresses"] == ["127.0.0.0/8"]
    stronger = await made(acme, scopes=sorted(EVERY_SCOPE))
    answer = await maker.post_json(f"/v1/keys/{stronger['id']}/rotate", {})
    assert_problem(answer, 403, "privilege_exceeded")
    # No tenant's key administers the platform, and none can make one that does.
    answer = await acme.post_json("/v1/keys", {"name": "root", "scopes": ["admin:write"]})
    assert_problem(answer, 403, "privilege_exceeded")


async def test_a_rotated_key_works_beside_its_successor(acme: Caller, client: httpx2.AsyncClient) -> None:
    old = await made(acme, scopes=["keys:read"])
    answer = await acme.post_json(f"/v1/keys/{old['id']}/rotate", {"overlap_seconds": 3600})
    assert answer.status_code == 201
    new = answer.json()
    assert (new["rotated_from"], new["name"], new["scopes"]) == (old["id"], "ci", ["keys:read"])
    for secret in (old["secret"], new["secret"]):
        assert (await Caller(client, secret).get(f"/v1/keys/{new['id']}")).status_code == 200
    shown = (await acme.get(f"/v1/keys/{old['id']}")).json()
    assert shown["expires_at"] < old["expires_at"]
    await acme.post_json(f"/v1/keys/{new['id']}/rotate", {"overlap_seconds": 0})
    answer = await acme.post_json(f"/v1/keys/{new['id']}/rotate", {})
    assert_problem(answer, 409, "key_ended")
    assert (await acme.get(f"/v1/keys/{new['id']}")).json()["state"] == "expired"


async def test_anothers_key_is_as_unknown_as_one_that_never_was(acme: Caller, rival: Caller) -> None:
    key = (await made(acme))["id"]
    answers = []
    for text in (key, UNKNOWN, "key_x", key.upper(), "key_%00"):
        for answer in (
            await rival.get(f"/v1/keys/{text}"),
            await rival.post_json(f"/v1/keys/{text}/rotate", {}),
            await rival.client.delete(f"/v1/keys/{text}", headers=rival.headers()),
        ):
            body = assert_problem(answer, 404, "key_not_found")
            answers.append(
                {name: value for name, value in body.items() if name not in {"request_id", "instance"}}
            )
    assert all(answer == answers[0] for answer in answers)
    assert len(await rival.items("/v1/keys")) == 1
    assert (await acme.get(f"/v1/keys/{key}")).json()["state"] == "live"


async def until_refused(caller: Caller) -> None:
    async def is_refused() -> bool:
        return (await caller.get("/v1/keys?page_size=1")).status_code == 401

    await until_heard(is_refused)


async def test_a_revocation_is_heard_by_another_process(
    settings: Settings, acme: Caller, owner_db: Database
) -> None:
    async with serving(create_app(settings)) as other:
        key, second, third = [await made(acme, scopes=["keys:read", "keys:write"]) for _ in range(3)]
        user = Caller(other, key["secret"])
        assert (await user.get("/v1/keys")).status_code == 200
        for _ in range(2):
            answer = await acme.client.delete(f"/v1/keys/{key['id']}", headers=acme.headers())
            assert (answer.status_code, answer.content) == (204, b"")
        await until_refused(user)
        assert_problem(await user.get("/v1/keys"), 401, "api_key_invalid")
        # A key may end itself.
        user = Caller(other, second["secret"])
        assert (await user.get("/v1/keys")).status_code == 200
        await other.delete(f"/v1/keys/{second['id']}", headers=user.headers())
        await until_refused(user)
        # Whoever changes the row by hand is heard as well.
        user = Caller(other, third["secret"])
        assert (await user.get("/v1/keys")).status_code == 200
        async with owner_db.transaction() as conn:
            await conn.execute(
                "UPDATE api_keys SET revoked_at = now() WHERE id = %s", [from_public("key", third["id"])]
            )
        await until_refused(user)


async def test_what_a_tenant_may_use_is_known_soon_after_it_changes(
    settings: Settings, owner_db: Database
) -> None:
    app = create_app(settings)
    async with serving(app):
        secret = await new_key(owner_db, "acme", limits=None)
        authenticator = app.state.services.access.authenticator
        assert (await authenticator.authenticate(secret)).limits == PLANS["standard"]
        async with owner_db.transaction() as conn:
            await conn.execute("UPDATE tenants SET jobs_per_day = 7")

        async def is_known() -> bool:
            return bool((await authenticator.authenticate(secret)).limits.jobs_per_day == 7)

        await until_heard(is_known)


async def test_a_key_opens_from_its_addresses_only(acme: Caller, settings: Settings) -> None:
    key = await made(acme, scopes=["keys:read"], allowed_addresses=["192.0.2.0/24", "2001:db8::/64"])
    app = create_app(settings)
    async with serving(app):
        for address, status in (("192.0.2.9", 200), ("2001:db8::9", 200), ("192.0.3.9", 403), ("::1", 403)):
            transport = httpx2.ASGITransport(app=app, client=(address, 4711))
            async with httpx2.AsyncClient(transport=transport, base_url="http://api") as client:
                answer = await Caller(client, key["secret"]).get("/v1/keys")
            assert answer.status_code == status
            if status != 200:
                body = assert_problem(answer, 403, "address_not_allowed")
                assert body["meta"] == {"address": address}


async def test_a_key_that_was_used_says_when(settings: Settings, acme: Caller) -> None:
    key = await made(acme, scopes=["keys:read"])
    async with serving(create_app(settings)) as client:
        assert (await Caller(client, key["secret"]).get("/v1/keys")).status_code == 200
    # A process that stops writes what it has noted.
    shown = (await acme.get(f"/v1/keys/{key['id']}")).json()
    assert shown["last_used_at"].endswith(":00Z")
