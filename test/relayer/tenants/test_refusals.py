"""What the audit log says of refused keys, and that nobody can flood it."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretBytes

from relayer.model.errors import UnavailableError
from relayer.model.ids import to_public
from relayer.settings import KeySettings
from relayer.store.database import Database
from relayer.tenants import refusals as module
from relayer.tenants.addresses import parse_network
from relayer.tenants.audit_log import AuditLog
from relayer.tenants.authenticator import Authenticator
from relayer.tenants.errors import AddressNotAllowedError
from relayer.tenants.key_cache import KeyCache
from relayer.tenants.key_service import KeyRequest, KeyService
from relayer.tenants.keys import generate_key
from relayer.tenants.refusals import PACE, Refusals
from relayer.tenants.scopes import Scope

from .conftest import KEYS, HeldClock

HERE, THERE = "192.0.2.7", "2001:db8::7"


@pytest.fixture
def refusals(api_db: Database, clock: HeldClock) -> Refusals:
    return Refusals(api_db, clock, clock.monotonic)


@pytest.fixture
def authenticator(api_db: Database, clock: HeldClock, refusals: Refusals) -> Authenticator:
    cache = KeyCache(monotonic=clock.monotonic)
    return Authenticator(api_db, KEYS, clock, cache=cache, refusals=refusals)


@pytest.fixture
def keys(owner_db: Database, clock: HeldClock) -> KeyService:
    return KeyService(owner_db, KEYS, clock)


async def events(owner_db: Database, action: str) -> list[dict[str, Any]]:
    async with owner_db.statement() as conn:
        cursor = await conn.execute("SELECT event FROM audit_events WHERE action = %s ORDER BY seq", [action])
        return [json.loads(row[0]) for row in await cursor.fetchall()]


async def test_a_key_that_was_revoked_is_on_record_when_it_is_shown(
    authenticator: Authenticator, refusals: Refusals, keys: KeyService, owner_db: Database, tenant: UUID
) -> None:
    key = await keys.create(tenant, KeyRequest("ci", [Scope.JOBS_READ]))
    await keys.revoke(tenant, key.id)
    for address in (HERE, THERE, HERE):
        assert await authenticator.authenticate(key.secret, address) is None
    await refusals.write()
    (event,) = await events(owner_db, "api_key.refused")
    assert event["tenant_id"] == to_public("tnt", tenant)
    assert event["outcome"] == "denied"
    assert event["targets"] == [{"type": "api_key", "id": to_public("key", key.id), "name": "ci"}]
    assert event["actor"] == event["targets"][0]
    assert event["context"]["address"] == HERE
    metadata = event["metadata"]
    assert (metadata["reason"], metadata["count"], metadata["addresses"]) == ("revoked", 3, [HERE, THERE])
    assert metadata["since"] <= metadata["until"]
    assert key.secret not in str(event)
    verdicts = [verdict async for verdict in AuditLog(owner_db).verify_all()]
    assert not any(verdict.broken for verdict in verdicts)


async def test_every_reason_has_its_event(
    authenticator: Authenticator,
    refusals: Refusals,
    keys: KeyService,
    owner_db: Database,
    tenant: UUID,
    clock: HeldClock,
) -> None:
    network = [parse_network("192.0.2.0/24")]
    narrow = await keys.create(tenant, KeyRequest("narrow", [Scope.JOBS_READ], allowed_addresses=network))
    short = await keys.create(
        tenant, KeyRequest("short", [Scope.JOBS_READ], expires_at=clock() + timedelta(seconds=10))
    )
    with pytest.raises(AddressNotAllowedError):
        await authenticator.authenticate(narrow.secret, THERE)
    # Remembered as a live one, and found expired by the clock.
    assert await authenticator.authenticate(short.secret, HERE)
    clock.pass_by(timedelta(seconds=10))
    assert await authenticator.authenticate(short.secret, HERE) is None
    await refusals.write()
    told = [
        (one["targets"][0]["name"], one["metadata"]["reason"])
        for one in await events(owner_db, "api_key.refused")
    ]
    assert told == [("narrow", "address_not_allowed"), ("short", "expired")]


async def test_a_key_under_a_former_pepper_is_known(
    api_db: Database, refusals: Refusals, keys: KeyService, owner_db: Database, tenant: UUID, clock: HeldClock
) -> None:
    key = await keys.create(tenant, KeyRequest("old", [Scope.JOBS_READ]))
    await keys.revoke(tenant, key.id)
    settings = KeySettings(
        pepper=SecretBytes(b"another pepper"), pepper_version=2, former_peppers={1: KEYS.pepper}
    )
    assert await Authenticator(api_db, settings, clock, refusals=refusals).authenticate(key.secret) is None
    await refusals.write()
    (event,) = await events(owner_db, "api_key.refused")
    assert (event["metadata"]["reason"], event["metadata"]["addresses"]) == ("revoked", [])


async def test_a_flood_is_one_event_an_hour(
    authenticator: Authenticator,
    refusals: Refusals,
    keys: KeyService,
    owner_db: Database,
    tenant: UUID,
    clock: HeldClock,
) -> None:
    key = await keys.create(tenant, KeyRequest("ci", [Scope.JOBS_READ]))
    await keys.revoke(tenant, key.id)
    for _ in range(5):
        for _ in range(20):
            assert await authenticator.authenticate(key.secret, HERE) is None
            assert await authenticator.authenticate(generate_key(), HERE) is None
            assert await authenticator.authenticate("malformed", THERE) is None
        await refusals.write()
        clock.pass_by(PACE / 5)
    await refusals.write()
    known, unknown = await events(owner_db, "api_key.refused"), await events(owner_db, "credentials.refused")
    assert [one["metadata"]["count"] for one in known] == [20, 80]
    assert [one["metadata"]["count"] for one in unknown] == [40, 160]
    assert unknown[0]["tenant_id"] is None
    assert {*unknown[0]["metadata"]["addresses"]} == {HERE, THERE}


async def test_memory_is_bounded(
    authenticator: Authenticator, refusals: Refusals, owner_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SUBJECTS", 3)
    for number in range(40):
        assert await authenticator.authenticate(generate_key(), f"192.0.2.{number}") is None
    assert len(refusals._shown) == 3
    await refusals.write()
    (event,) = await events(owner_db, "credentials.refused")
    assert event["metadata"]["count"] == 40
    assert len(event["metadata"]["addresses"]) == 10


async def test_what_could_not_be_written_is_written_later(
    authenticator: Authenticator,
    refusals: Refusals,
    keys: KeyService,
    owner_db: Database,
    tenant: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = await keys.create(tenant, KeyRequest("ci", [Scope.JOBS_READ]))
    await keys.revoke(tenant, key.id)

    async def away(*_: object) -> None:
        raise UnavailableError("away")

    for broken in ("record", "repository.shown_keys"):
        assert await authenticator.authenticate(key.secret, HERE) is None
        with monkeypatch.context() as patch:
            patch.setattr(f"relayer.tenants.refusals.{broken}", away)
            with pytest.raises(UnavailableError):
                await refusals.write()
    await refusals.write()
    (event,) = await events(owner_db, "api_key.refused")
    assert event["metadata"]["count"] == 2


async def test_a_key_made_a_moment_ago_was_never_refused(
    authenticator: Authenticator, refusals: Refusals, keys: KeyService, owner_db: Database, tenant: UUID
) -> None:
    secret = generate_key()
    assert await authenticator.authenticate(secret, HERE) is None
    key = await keys.create(tenant, KeyRequest("ci", [Scope.JOBS_READ]))
    async with owner_db.transaction() as conn:
        digest = authenticator._digests.of(secret)
        await conn.execute("UPDATE api_keys SET digest = %s WHERE id = %s", [digest, key.id])
    await refusals.write()
    assert await events(owner_db, "api_key.refused") == await events(owner_db, "credentials.refused") == []
