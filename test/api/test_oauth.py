"""Access tokens over HTTP: exchanged for a key, used, narrowed, revoked."""

import base64
from datetime import timedelta
from urllib.parse import quote
from uuid import UUID

import httpx2
import jwt

from api.app import Settings, create_app
from relayer.model.clock import utc_now
from relayer.model.ids import new_id
from relayer.store.database import Database
from relayer.tenants.keys import generate_key
from relayer.tenants.revocations import STALE_AFTER, RevokedTokens
from relayer.tenants.scopes import EVERY_SCOPE
from relayer.tenants.token_collector import TokenCollector

from .conftest import ISSUER, Body, Caller, assert_problem, new_key, serving, until_heard


class Client:
    """A client of OAuth: the id of a key, and the key."""

    def __init__(self, http: httpx2.AsyncClient, client_id: str, secret: str) -> None:
        self.http = http
        self.client_id = client_id
        self.secret = secret

    async def post(self, path: str, **form: str) -> httpx2.Response:
        credentials = {"client_id": self.client_id, "client_secret": self.secret}
        return await self.http.post(path, data=credentials | form)

    async def exchange(self, **form: str) -> httpx2.Response:
        return await self.post("/oauth/token", grant_type="client_credentials", **form)

    async def token(self, **form: str) -> str:
        answer = await self.exchange(**form)
        assert answer.status_code == 200, answer.text
        text: str = answer.json()["access_token"]
        return text


async def a_client(caller: Caller, *scopes: str, **wanted: object) -> Client:
    body = {"name": "service", "scopes": scopes or sorted(EVERY_SCOPE)} | wanted
    answer = await caller.post_json("/v1/keys", body)
    assert answer.status_code == 201, answer.text
    return Client(caller.client, answer.json()["id"], answer.json()["secret"])


def assert_oauth_error(answer: httpx2.Response, status: int, error: str) -> Body:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    body: Body = answer.json()
    assert body.keys() == {"error", "error_description"}
    assert body["error"] == error
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Basic ")
    return body


async def test_a_key_is_exchanged_for_a_token_that_anybody_can_check(
    acme: Caller, client: httpx2.AsyncClient
) -> None:
    service = await a_client(acme, "jobs:read", "keys:read", "blobs:write")
    answer = await service.exchange(scope="keys:read jobs:read")
    assert answer.status_code == 200, answer.text
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    body = answer.json()
    assert body.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 600, "jobs:read keys:read")

    metadata = (await client.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["issuer"] == ISSUER
    assert metadata["token_endpoint"] == f"{ISSUER}/oauth/token"
    published = await client.get(metadata["jwks_uri"].removeprefix(ISSUER))
    assert published.headers["cache-control"] == "public, max-age=300"
    keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(published.json()).keys}
    assert len(keys) == 2
    header = jwt.get_unverified_header(body["access_token"])
    claims = jwt.decode(
        body["access_token"],
        keys[header["kid"]],
        algorithms=["EdDSA"],
        issuer=ISSUER,
        audience=ISSUER,
        options={"require": ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]},
    )
    assert header["typ"] == "at+jwt"
    assert claims["client_id"] == claims["sub"] == service.client_id

    user = Caller(client, body["access_token"])
    assert (await user.get("/v1/jobs")).status_code == 200
    assert (await user.get(f"/v1/keys/{service.client_id}")).status_code == 200
    problem = assert_problem(await user.post("/v1/blobs", b"x"), 403, "insufficient_scope")
    assert "access token" in problem["detail"]
    assert set((await service.exchange()).json()["scope"].split()) == {
        "jobs:read",
        "keys:read",
        "blobs:write",
    }


async def test_a_client_shows_itself_in_the_header_or_in_the_body(
    acme: Caller, client: httpx2.AsyncClient
) -> None:
    service = await a_client(acme, "jobs:read")
    form = {"grant_type": "client_credentials"}

    def basic(client_id: str, secret: str) -> dict[str, str]:
        pair = f"{quote(client_id)}:{quote(secret)}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}

    good = basic(service.client_id, service.secret)
    for headers, fields in (
        (good, form),
        ({"Authorization": good["Authorization"].replace("Basic", "bAsIc  ")}, form),
        (good, form | {"client_id": service.client_id, "unknown": "x", "scope": ""}),
    ):
        answer = await client.post("/oauth/token", data=fields, headers=headers)
        assert answer.status_code == 200, answer.text
    other = await a_client(acme, "jobs:read")
    for headers in (
        basic(other.client_id, service.secret),
        basic(service.client_id, other.secret),
        basic(service.client_id, f"{service.secret[:-1]}~"),
        basic(service.client_id.upper(), service.secret),
        basic("", ""),
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic /w=="},
        {"Authorization": f"Bearer {service.secret}"},
        {},
    ):
        assert_oauth_error(
            await client.post("/oauth/token", data=form, headers=headers), 401, "invalid_client"
        )
    for fields in ({"client_id": other.client_id}, {"client_secret": service.secret}):
        answer = await client.post("/oauth/token", data=form | fields, headers=good)
        assert_oauth_error(answer, 400, "invalid_request")
    # A token is no key: nobody lengthens the life of one.
    token = await service.token()
    answer = await client.post("/oauth/token", data=form, headers=basic(service.client_id, token))
    assert_oauth_error(answer, 401, "invalid_client")


async def test_what_is_no_request_for_a_token(acme: Caller, client: httpx2.AsyncClient) -> None:
    service = await a_client(acme, "jobs:read")
    for form, error in (
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "scope": "jobs:write"}, "invalid_scope"),
        ({"grant_type": "client_credentials", "scope": "jobs:read admin:write"}, "invalid_scope"),
        ({"grant_type": "client_credentials", "scope": "jobs:read  jobs:read"}, "invalid_scope"),
        ({"grant_type": "client_credentials", "scope": 'jobs:read"'}, "invalid_scope"),
    ):
        assert_oauth_error(await service.post("/oauth/token", **form), 400, error)
    credentials = f"client_id={service.client_id}&client_secret={service.secret}"
    urlencoded = "application/x-www-form-urlencoded"
    for content, media_type, status in (
        (f"{credentials}&grant_type=client_credentials", "application/json", 400),
        (f"{credentials}&grant_type=client_credentials&grant_type=client_credentials", urlencoded, 400),
        (f"{credentials}&&", urlencoded, 400),
        (f"{credentials}&grant_type=%ff", urlencoded, 400),
        ("é", urlencoded, 400),
        ("&".join(f"a{number}=1" for number in range(21)), urlencoded, 400),
        ("a=" + "x" * 8192, urlencoded, 413),
    ):
        answer = await client.post(
            "/oauth/token", content=content.encode(), headers={"Content-Type": media_type}
        )
        assert_oauth_error(answer, status, "invalid_request")
        assert service.secret not in answer.text
    answer = await client.get("/oauth/token")
    assert_problem(answer, 405, "method_not_allowed")


async def test_a_key_that_opens_from_some_addresses_only_gives_tokens_that_do(
    acme: Caller, settings: Settings
) -> None:
    service = await a_client(acme, "jobs:read", allowed_addresses=["192.0.2.0/24"])
    app = create_app(settings)
    async with app.router.lifespan_context(app):

        def at(address: str) -> httpx2.AsyncClient:
            transport = httpx2.ASGITransport(app=app, client=(address, 4711))
            return httpx2.AsyncClient(transport=transport, base_url="http://api")

        async with at("192.0.2.1") as inside, at("192.0.3.1") as outside:
            token = await Client(inside, service.client_id, service.secret).token()
            assert (await Caller(inside, token).get("/v1/jobs")).status_code == 200
            assert_problem(await Caller(outside, token).get("/v1/jobs"), 403, "address_not_allowed")
            answer = await Client(outside, service.client_id, service.secret).exchange()
            assert "192.0.3.1" in assert_oauth_error(answer, 401, "invalid_client")["error_description"]


async def test_a_token_ends_after_ten_minutes_and_never_after_its_key(
    settings: Settings, owner_db: Database
) -> None:
    now = utc_now()
    moment = [now]
    app = create_app(settings, clock=lambda: moment[0])
    async with serving(app) as client:
        tenant_secret = await new_key(owner_db, "acme")
        caller = Caller(client, tenant_secret)
        service = await a_client(caller, "jobs:read")
        user = Caller(client, await service.token())
        short = await a_client(caller, "jobs:read", expires_at=(now + timedelta(minutes=5)).isoformat())
        assert 290 <= (await short.exchange()).json()["expires_in"] <= 300
        moment[0] = now + timedelta(seconds=598)
        assert (await user.get("/v1/jobs")).status_code == 200
        moment[0] = now + timedelta(seconds=600)
        problem = assert_problem(await user.get("/v1/jobs"), 401, "access_token_invalid")
        assert "POST /oauth/token" in problem["detail"]


async def until_refused(caller: Caller) -> None:
    async def is_refused() -> bool:
        return (await caller.get("/v1/jobs?page_size=1")).status_code != 200

    await until_heard(is_refused)
    assert_problem(await caller.get("/v1/jobs"), 401, "access_token_invalid")


async def test_a_revoked_token_is_refused_by_every_process(settings: Settings, acme: Caller) -> None:
    async with serving(create_app(settings)) as other:
        service = await a_client(acme, "jobs:read")
        token, kept = await service.token(), await service.token()
        here, there, untouched = Caller(acme.client, token), Caller(other, token), Caller(other, kept)
        for caller in (here, there, untouched):
            assert (await caller.get("/v1/jobs")).status_code == 200
        for _ in range(2):
            answer = await service.post("/oauth/revoke", token=token, token_type_hint="access_token")
            assert (answer.status_code, answer.content) == (200, b"")
        (event,) = await acme.items("/v1/audit-events?action=access_token.revoked")
        jti = jwt.decode(token, options={"verify_signature": False})["jti"]
        assert [target["id"] for target in event["targets"]] == [jti, service.client_id]
        assert event["actor"] == {"type": "api_key", "id": service.client_id, "name": "service"}
        assert token not in str(event)
        assert_problem(await here.get("/v1/jobs"), 401, "access_token_invalid")
        await until_refused(there)
        assert (await untouched.get("/v1/jobs")).status_code == 200
        # Whoever ends a key ends what was issued through it.
        await acme.client.delete(f"/v1/keys/{service.client_id}", headers=acme.headers())
        await until_refused(untouched)
        assert_oauth_error(await service.exchange(), 401, "invalid_client")


async def test_who_may_revoke_what(acme: Caller, rival: Caller) -> None:
    service, sibling, stranger = await a_client(acme), await a_client(acme), await a_client(rival)
    token = await service.token()
    for other in (sibling, stranger):
        assert_oauth_error(await other.post("/oauth/revoke", token=token), 400, "unauthorized_client")
    for nothing in ("x", "a.b.c", f"{token[:-4]}AAAA"):
        assert (await service.post("/oauth/revoke", token=nothing)).status_code == 200
    assert_oauth_error(await service.post("/oauth/revoke"), 400, "invalid_request")
    answer = await service.post("/oauth/revoke", token=service.secret)
    assert_oauth_error(answer, 400, "unsupported_token_type")
    answer = await acme.client.post("/oauth/revoke", data={"token": token})
    assert_oauth_error(answer, 401, "invalid_client")
    assert (await Caller(acme.client, token).get("/v1/jobs")).status_code == 200


async def test_a_token_makes_no_key_that_may_more_than_itself(
    acme: Caller, client: httpx2.AsyncClient
) -> None:
    service = await a_client(acme)
    user = Caller(client, await service.token(scope="keys:write"))
    answer = await user.post_json("/v1/keys", {"name": "x", "scopes": ["jobs:read"]})
    assert_problem(answer, 403, "privilege_exceeded")
    # Not even through the key that the token was issued for.
    answer = await user.post_json(f"/v1/keys/{service.client_id}/rotate", {})
    assert_problem(answer, 403, "privilege_exceeded")


async def test_a_hostile_token_is_a_problem(acme: Caller, client: httpx2.AsyncClient) -> None:
    token = await (await a_client(acme, "jobs:read")).token()
    head, body, signature = token.split(".")
    for text in (
        f"{head}.{body}.",
        # Not at its end: the last byte of a signature is often zero.
        f"{head}.{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}",
        "eyJhbGciOiJub25lIn0.e30.",
        "..",
        f"{'W' * 6000}.e30.e30",
    ):
        answer = await Caller(client, text).get("/v1/jobs")
        assert_problem(answer, 401, "access_token_invalid")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_a_revocation_whose_news_is_lost_holds_when_the_list_is_looked_at(
    api_db: Database, relayer_db: Database, owner_db: Database, acme: Caller
) -> None:
    ticks = [0.0]
    revoked = RevokedTokens(api_db, utc_now, lambda: ticks[0])
    service = await a_client(acme, "jobs:read")
    token = await service.token()
    jti = UUID(jwt.decode(token, options={"verify_signature": False})["jti"])
    assert not await revoked.contains(jti)
    assert (await service.post("/oauth/revoke", token=token)).status_code == 200
    ticks[0] = STALE_AFTER.total_seconds()
    assert not await revoked.contains(jti)
    # The loop looks every 20 s; a list that nobody has looked at for 50 s is not believed.
    ticks[0] += 0.1
    assert await revoked.contains(jti)
    later = TokenCollector(relayer_db, lambda: utc_now() + timedelta(minutes=71))
    assert await TokenCollector(relayer_db, utc_now).run_pass(1) == 0
    async with owner_db.statement() as conn:
        assert await (await conn.execute("SELECT jti FROM revoked_tokens")).fetchall() == [(jti,)]
        await later.run_pass(1)
        assert await (await conn.execute("SELECT jti FROM revoked_tokens")).fetchall() == []


async def test_keys_that_are_thrown_away_end_every_token_at_once(
    acme: Caller, client: httpx2.AsyncClient, owner_db: Database
) -> None:
    service = await a_client(acme, "jobs:read")
    user = Caller(client, await service.token())
    assert (await user.get("/v1/jobs")).status_code == 200
    async with owner_db.transaction() as conn:
        await conn.execute("DELETE FROM signing_keys")
    await until_refused(user)
    assert (await Caller(client, await service.token()).get("/v1/jobs")).status_code == 200


async def test_a_database_that_is_away_refuses_nobody_for_good(settings: Settings) -> None:
    app = create_app(settings)
    transport = httpx2.ASGITransport(app=app)
    # Its database is never opened: as good as away.
    async with (
        app.state.services.shared,
        httpx2.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        answer = await Client(client, f"key_{new_id()}", generate_key()).exchange()
        assert_oauth_error(answer, 503, "temporarily_unavailable")
        assert answer.headers["retry-after"]
        assert_problem(await client.get("/oauth/jwks"), 503, "service_unavailable")
        assert_problem(await Caller(client, "a.b.c").get("/v1/jobs"), 503, "service_unavailable")


async def test_a_suspended_tenant_gets_and_uses_no_token(acme: Caller, owner_db: Database) -> None:
    service = await a_client(acme, "jobs:read")
    user = Caller(acme.client, await service.token())
    assert (await user.get("/v1/jobs")).status_code == 200
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET suspended_at = now(), suspension_reason = 'unpaid'")

    async def is_refused() -> bool:
        return (await user.get("/v1/jobs")).status_code != 200

    await until_heard(is_refused)
    assert_problem(await user.get("/v1/jobs"), 403, "tenant_suspended")
    body = assert_oauth_error(await service.exchange(), 400, "unauthorized_client")
    assert "unpaid" in body["error_description"]
