"""Rates, allowances of addresses and lock-outs, as a client meets them."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import ValidationError
from redis import Redis
from starlette.requests import Request

from api.address import visitor
from api.app import Settings, create_app
from api.limits import OPEN
from relayer.settings import ApiSettings
from relayer.store.database import Database
from relayer.tenants.keys import generate_key
from relayer.tenants.plans import PLANS

from .conftest import NO_REDIS, ROOM, Caller, assert_problem, new_key, serving, settings_for

# So slow that no unit comes back during a test.
SCARCE = replace(ROOM, submissions_per_minute=1, submissions_burst=5, reads_per_minute=1, reads_burst=7)
POLICY = re.compile(r'"[a-z-]+";q=\d+;w=\d+(, "[a-z-]+";q=\d+;w=\d+)*')
STATE = re.compile(r'"([a-z-]+)";r=(\d+);t=(\d+)')


def standing(answer: httpx2.Response) -> dict[str, tuple[int, int]]:
    """Read `RateLimit`: units left and seconds to wait, by policy."""
    assert POLICY.fullmatch(answer.headers["ratelimit-policy"]), answer.headers
    items = answer.headers["ratelimit"].split(", ")
    found = [STATE.fullmatch(one) for one in items]
    assert all(found), items
    return {one[1]: (int(one[2]), int(one[3])) for one in found if one}


@asynccontextmanager
async def at_address(app: FastAPI, address: str, secret: str = "") -> AsyncIterator[Caller]:
    transport = httpx2.ASGITransport(app=app, client=(address, 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://api") as client:
        yield Caller(client, secret)


async def test_reads_and_submissions_are_held_to_their_bursts(
    client: httpx2.AsyncClient, owner_db: Database
) -> None:
    caller = Caller(client, await new_key(owner_db, "scarce", limits=SCARCE))
    submits = await asyncio.gather(
        *(
            caller.post_json("/v1/jobs", {"kind": "digest", "input": {"text": "a"}}, idempotency_key=f"k{n}")
            for n in range(9)
        )
    )
    assert sorted(one.status_code for one in submits) == [202] * 5 + [429] * 4
    refused = next(one for one in submits if one.status_code == 429)
    assert assert_problem(refused, 429, "rate_limited")["meta"] == {"violated_policies": ["tenant-submit"]}
    assert standing(refused) == {"tenant-submit": (0, int(refused.headers["retry-after"]))}
    assert 1 <= int(refused.headers["retry-after"]) <= 60

    for left in range(6, -1, -1):
        answer = await caller.get("/v1/jobs")
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"].endswith('"tenant-read";q=7;w=420')
        assert standing(answer)["tenant-read"] == (left, 60 * (7 - left))
    assert_problem(await caller.get("/v1/jobs/job_x"), 429, "rate_limited")
    # What ends with a problem is counted and described too.
    other = Caller(client, await new_key(owner_db, "other", limits=SCARCE))
    cancelled = await other.post("/v1/jobs/job_x/cancel", b"")
    assert_problem(cancelled, 404, "job_not_found")
    assert standing(cancelled)["tenant-write"][0] == 9


async def test_a_batch_costs_its_items_and_is_taken_whole_or_not_at_all(
    client: httpx2.AsyncClient, owner_db: Database
) -> None:
    caller = Caller(client, await new_key(owner_db, "scarce", limits=SCARCE))

    async def batch(run: str, size: int) -> httpx2.Response:
        items = [
            {"idempotency_key": f"{run}{n}", "kind": "digest", "input": {"text": "a"}} for n in range(size)
        ]
        return await caller.post_json("/v1/jobs:batch", {"jobs": items})

    assert (await batch("a", 3)).status_code == 207
    refused = await batch("b", 3)
    assert_problem(refused, 429, "rate_limited")
    # Reading it cost one; tried again, it needs all three.
    assert standing(refused)["tenant-submit"][0] == 1
    assert int(refused.headers["retry-after"]) > 60
    assert (await batch("c", 1)).status_code == 207
    # Larger than the burst: accepted from rest, and paid off like any other.
    other = Caller(client, await new_key(owner_db, "other", limits=SCARCE))
    caller = other
    assert (await batch("a", 8)).status_code == 207
    assert int((await batch("b", 1)).headers["retry-after"]) > 3 * 60


async def test_the_free_plan_is_what_is_promised(client: httpx2.AsyncClient, owner_db: Database) -> None:
    caller = Caller(client, await new_key(owner_db, "free", limits=PLANS["free"]))
    answers = [await caller.submit(b'{"kind":"digest","input":{"text":"a"}}') for _ in range(22)]
    taken = sum(answer.status_code == 202 for answer in answers)
    assert 20 <= taken <= 21
    assert answers[-1].headers["retry-after"] == "1"
    assert answers[0].headers["ratelimit-policy"] == '"key-burst";q=120;w=10, "tenant-submit";q=20;w=20'


async def test_requests_without_a_valid_key_spend_their_address_alone(
    settings: Settings, owner_db: Database
) -> None:
    app = create_app(settings)
    secret = await new_key(owner_db, "scarce", limits=SCARCE)
    async with (
        serving(app),
        at_address(app, "192.0.2.1") as nobody,
        at_address(app, "192.0.2.1", secret) as scarce,
    ):
        assert (await scarce.get("/v1/jobs")).status_code == 200
        answers = [await nobody.client.get("/v1/jobs") for _ in range(31)]
        assert_problem(answers[29], 401, "api_key_missing")
        assert "ratelimit" not in answers[29].headers
        refused = assert_problem(answers[30], 429, "rate_limited")
        assert refused["meta"] == {"violated_policies": ["ip-unauth"]}
        assert 1 <= int(answers[30].headers["retry-after"]) <= 2
        # The tenant lost nothing by it, and its key, known here, is still heard.
        assert standing(await scarce.get("/v1/jobs"))["tenant-read"][0] == 5
        async with at_address(app, "192.0.2.2") as other:
            assert_problem(await other.client.get("/v1/jobs"), 401, "api_key_missing")
        assert (await nobody.client.get("/health/live")).status_code == 200


async def test_what_is_open_to_all_is_held_to_the_rate_of_an_address(
    settings: Settings, owner_db: Database
) -> None:
    app = create_app(settings)
    paths = ["/docs", "/docs/errors", "/docs/errors/rate_limited", "/openapi.json", "/oauth/jwks"]
    paths.append("/.well-known/oauth-authorization-server")
    async with serving(app), at_address(app, "192.0.2.1") as flood, at_address(app, "192.0.2.2") as other:
        answers = [await flood.client.get(path) for path in paths * 12]
        for answer in answers[: OPEN.burst]:
            assert (answer.status_code, "ratelimit" in answer.headers) == (200, False)
        answers = [answer for path in paths for answer in [await flood.client.get(path)]]
        assert {answer.status_code for answer in answers} <= {200, 429}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert assert_problem(refused, 429, "rate_limited")["meta"] == {"violated_policies": ["ip-open"]}
        assert refused.headers["retry-after"] == "1"
        for path in paths:
            assert (await other.client.get(path)).status_code == 200
        # Probes are not held back, nor is a key that is used from there.
        assert {(await flood.client.get("/health/ready")).status_code for _ in range(100)} == {200}
        secret = await new_key(owner_db, "acme")
        assert (await Caller(flood.client, secret).get("/v1/jobs")).status_code == 200


async def test_a_key_that_is_used_stays_known_at_its_address(
    settings: Settings, owner_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(settings)
    now = 1_000.0
    monkeypatch.setattr("api.limits.time.monotonic", lambda: now)
    async with serving(app), at_address(app, "192.0.2.9", await new_key(owner_db, "acme")) as acme:
        assert (await acme.get("/v1/jobs")).status_code == 200
        for _ in range(10):
            async with at_address(app, "192.0.2.9", generate_key()) as guess:
                await guess.get("/v1/jobs")
        for _ in range(6):
            now += 600
            assert (await acme.get("/v1/jobs")).status_code == 200
        now += 901
        # The lock-out itself is by the clock of the store, and lasts.
        assert_problem(await acme.get("/v1/jobs"), 429, "too_many_failures")


async def test_ten_guesses_lock_an_address_out(
    settings: Settings, owner_db: Database, valkey_url: str
) -> None:
    app = create_app(settings)
    secret, late = await new_key(owner_db, "acme"), await new_key(owner_db, "late")
    async with serving(app), at_address(app, "2001:db8::1", secret) as acme:
        assert (await acme.get("/v1/jobs")).status_code == 200
        for n in range(10):
            async with at_address(app, f"2001:db8::{n + 2}", generate_key()) as guess:
                assert_problem(await guess.get("/v1/jobs"), 401, "api_key_invalid")
        async with at_address(app, "2001:db8::99", late) as right:
            refused = await right.get("/v1/jobs")
            assert_problem(refused, 429, "too_many_failures")
            assert 890 < int(refused.headers["retry-after"]) <= 900
        # Whose key was good here before is not taken for a guesser.
        assert (await acme.get("/v1/jobs")).status_code == 200
        async with at_address(app, "2001:db8:0:1::1", late) as elsewhere:
            assert (await elsewhere.get("/v1/jobs")).status_code == 200
        with Redis.from_url(valkey_url) as redis:
            (lock,) = redis.keys("jobseal:lockout:*:lock")
            assert b"jsl_live" in lock
            assert secret.encode() not in b"".join(redis.keys())
            redis.delete(lock)
        async with at_address(app, "2001:db8::99", late) as right:
            assert (await right.get("/v1/jobs")).status_code == 200


async def test_without_redis_reads_pass_and_writes_are_held_by_the_process(
    settings: Settings, owner_db: Database, registry_row: Any
) -> None:
    alone = replace(
        settings, redis=settings_for("postgresql://h/d", settings.blobs.folder, registry_row, NO_REDIS).redis
    )
    async with serving(create_app(alone)) as client:
        caller = Caller(client, await new_key(owner_db, "scarce", limits=SCARCE))
        assert [(await caller.get("/v1/jobs")).status_code for _ in range(9)] == [200] * 9
        answers = [await caller.submit(b'{"kind":"digest","input":{"text":"a"}}') for _ in range(6)]
        assert [answer.status_code for answer in answers] == [202] * 5 + [503]
        assert_problem(answers[5], 503, "temporarily_reduced_capacity")
        assert int(answers[5].headers["retry-after"]) >= 1
        metrics = (await client.get("/metrics")).text
        assert 'jobseal_breaker_state{part="redis"} 2.0' in metrics
        assert 'jobseal_breaker_state{part="postgresql"} 0.0' in metrics
        assert 'jobseal_api_refused_total{policy="tenant-submit"} 1.0' in metrics
        assert "jobseal_api_local_verdicts_total 15.0" in metrics
        for _ in range(10):
            assert_problem(await Caller(client, generate_key()).get("/v1/jobs"), 401, "api_key_invalid")
        assert_problem(await Caller(client, generate_key()).get("/v1/jobs"), 429, "too_many_failures")


@pytest.mark.parametrize(
    ("peer", "forwarded", "counted"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # nobody whom we trust
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8:1:2:3::4]:80"], "2001:db8:1:2::/64"),
        ("10.0.0.1", ["2001:db8:1:2:9::9"], "2001:db8:1:2::/64"),
        ("10.0.0.1", ["6.6.6.6, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("fe80::1%eth0", [], "fe80::/64"),
        ("", [], "unknown"),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(
    peer: str, forwarded: list[str], counted: str
) -> None:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    request = Request({"type": "http", "headers": headers, "client": (peer, 1) if peer else None})
    assert visitor(request, [ip_network("10.0.0.0/8")]).address == counted


def test_trusted_proxies_are_set_as_networks_with_commas_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBSEAL_API_TRUSTED_PROXIES", "10.0.0.0/8, 2001:db8::/32")
    assert ApiSettings().trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
    monkeypatch.setenv("JOBSEAL_API_TRUSTED_PROXIES", "10.0.0.1/8")
    with pytest.raises(ValidationError, match="trusted_proxies"):
        ApiSettings()
