"""The rules of keys, in the database role of the API."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from uuid import UUID

import psycopg
import pytest

from relayer.model.ids import new_id
from relayer.store.database import Database
from relayer.tenants import key_service
from relayer.tenants.authenticator import Authenticator
from relayer.tenants.errors import KeyEndedError, KeyLimitError, KeyNotFoundError, PrivilegeError, TenantError
from relayer.tenants.key_service import KeyRequest, KeyService
from relayer.tenants.keys import is_well_formed
from relayer.tenants.principal import Mode, Principal
from relayer.tenants.scopes import Scope
from relayer.tenants.service import TenantService

from .conftest import KEYS, NOW, HeldClock

DAY = timedelta(days=1)


@pytest.fixture
def keys(api_db: Database, clock: HeldClock) -> KeyService:
    return KeyService(api_db, KEYS, clock)


async def holder(api_db: Database, secret: str, clock: HeldClock) -> Principal | None:
    return await Authenticator(api_db, KEYS, clock).authenticate(secret)


async def test_a_key_is_shown_as_it_was_made_without_its_secret(
    keys: KeyService, tenant: UUID, owner_db: Database
) -> None:
    networks = [ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")]
    new = await keys.create(tenant, KeyRequest("ci", ["jobs:read"], None, Mode.TEST, networks))
    assert is_well_formed(new.secret)
    assert new.secret.startswith("jsl_test_")
    shown = await keys.get(tenant, new.id)
    assert shown == new.key
    assert (shown.mode, shown.scopes, shown.allowed_addresses) == (Mode.TEST, ["jobs:read"], networks)
    assert shown.last4 == new.secret[-4:]
    assert shown.expires_at == NOW + 90 * DAY
    async with owner_db.transaction() as conn:
        row = await (await conn.execute("SELECT k::text FROM api_keys k")).fetchone()
    assert row is not None
    assert new.secret[:-4] not in row[0]


async def test_a_key_needs_a_tenant_a_name_a_scope_and_an_end_within_a_year(
    keys: KeyService, tenant: UUID
) -> None:
    with pytest.raises(TenantError, match="no tenant"):
        await keys.create(new_id(), KeyRequest("ci"))
    for name in ("", "a" * 65, "a\n", "é"):
        with pytest.raises(TenantError, match="name"):
            await keys.create(tenant, KeyRequest(name))
    for scopes in ([], ["jobs:all"], ["admin:read"]):
        with pytest.raises(TenantError, match="scopes"):
            await keys.create(tenant, KeyRequest("ci", scopes))
    for end in (NOW, NOW + 365 * DAY + timedelta(microseconds=1)):
        with pytest.raises(TenantError, match="365 days"):
            await keys.create(tenant, KeyRequest("ci", expires_at=end))
    longest = await keys.create(tenant, KeyRequest("ci", expires_at=NOW + 365 * DAY))
    assert longest.expires_at == NOW + 365 * DAY


async def test_nobody_makes_a_key_that_may_more_than_he(
    keys: KeyService, tenant: UUID, api_db: Database, clock: HeldClock
) -> None:
    networks = [ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")]
    new = await keys.create(
        tenant, KeyRequest("narrow", ["keys:write", "jobs:read"], allowed_addresses=networks)
    )
    maker = await Authenticator(api_db, KEYS, clock).authenticate(new.secret, "10.1.2.3")
    assert maker is not None
    with pytest.raises(PrivilegeError, match="blobs:write") as caught:
        await keys.create(tenant, KeyRequest("wide", ["jobs:read", "blobs:write"]), maker)
    assert (caught.value.member, caught.value.values) == ("scopes", [(1, "blobs:write")])
    for wide in ("0.0.0.0/0", "10.0.0.0/7", "::/0", "::ffff:10.0.0.0/104"):
        with pytest.raises(PrivilegeError, match="allowed_addresses"):
            await keys.create(
                tenant, KeyRequest("wide", ["jobs:read"], allowed_addresses=[ip_network(wide)]), maker
            )
    inherited = await keys.create(tenant, KeyRequest("same", ["jobs:read"]), maker)
    assert inherited.key.allowed_addresses == networks
    one = [ip_network("10.0.0.1")]
    assert (
        await keys.create(tenant, KeyRequest("one", ["jobs:read"], allowed_addresses=one), maker)
    ).key.allowed_addresses == one

    # What cannot be made cannot be had by rotating what others made either.
    wide_key = await keys.create(tenant, KeyRequest("wide"))
    with pytest.raises(PrivilegeError, match="scopes"):
        await keys.rotate(tenant, wide_key.id, overlap=DAY, maker=maker)
    anywhere = await keys.create(tenant, KeyRequest("anywhere", ["jobs:read"]))
    with pytest.raises(PrivilegeError, match="anywhere"):
        await keys.rotate(tenant, anywhere.id, overlap=DAY, maker=maker)
    narrowed = replace(maker, scopes=frozenset({"keys:write"}))
    with pytest.raises(PrivilegeError, match="jobs:read"):
        await keys.create(tenant, KeyRequest("by token", ["jobs:read"]), narrowed)


async def test_a_rotated_key_and_its_successor_overlap(
    keys: KeyService, tenant: UUID, api_db: Database, clock: HeldClock
) -> None:
    networks = [ip_network("10.0.0.0/8")]
    old = await keys.create(tenant, KeyRequest("ci", ["jobs:read"], NOW + 3 * DAY, Mode.TEST, networks))
    authenticator = Authenticator(api_db, KEYS, clock)

    async def opens(secret: str) -> bool:
        return await authenticator.authenticate(secret, "10.0.0.1") is not None

    assert await opens(old.secret)
    clock.pass_by(DAY)
    new = await keys.rotate(tenant, old.id, overlap=DAY)
    assert new.secret != old.secret
    assert new.key == replace(
        old.key,
        id=new.id,
        last4=new.secret[-4:],
        created_at=clock.now,
        expires_at=clock.now + 90 * DAY,
        rotated_from=old.id,
    )
    assert (await keys.get(tenant, old.id)).expires_at == NOW + 2 * DAY
    authenticator = Authenticator(api_db, KEYS, clock)
    assert await opens(old.secret)
    assert await opens(new.secret)
    # Whoever lost the answer asks again; that gives the old key no more time.
    clock.pass_by(DAY / 2)
    again = await keys.rotate(tenant, old.id, overlap=7 * DAY)
    assert (await keys.get(tenant, old.id)).expires_at == NOW + 2 * DAY
    clock.now = NOW + 2 * DAY - timedelta(microseconds=1)
    assert await opens(old.secret)
    # The clock jumps, and nobody waits for a memory to end.
    clock.now += timedelta(microseconds=1)
    assert not await opens(old.secret)
    assert await opens(new.secret)
    assert await opens(again.secret)
    with pytest.raises(KeyEndedError):
        await keys.rotate(tenant, old.id, overlap=DAY)
    at_once = await keys.rotate(tenant, new.id, overlap=timedelta(0), expires_at=clock.now + DAY)
    assert at_once.expires_at == clock.now + DAY
    assert not await holder_within(api_db, new.secret, clock)
    for overlap in (timedelta(microseconds=-1), 7 * DAY + timedelta(microseconds=1)):
        with pytest.raises(TenantError, match="overlap"):
            await keys.rotate(tenant, again.id, overlap=overlap)


async def holder_within(api_db: Database, secret: str, clock: HeldClock) -> Principal | None:
    return await Authenticator(api_db, KEYS, clock).authenticate(secret, "10.0.0.1")


async def test_a_revoked_key_stays_revoked_and_listed(
    keys: KeyService, tenant: UUID, api_db: Database, clock: HeldClock
) -> None:
    made = [await keys.create(tenant, KeyRequest(f"key {number}")) for number in range(3)]
    await keys.revoke(tenant, made[1].id)
    clock.pass_by(DAY)
    await keys.revoke(tenant, made[1].id)
    assert (await keys.get(tenant, made[1].id)).revoked_at == NOW
    assert await holder(api_db, made[1].secret, clock) is None
    assert await holder(api_db, made[0].secret, clock) is not None
    with pytest.raises(KeyEndedError):
        await keys.rotate(tenant, made[1].id, overlap=DAY)
    first = await keys.list(tenant, None, 2)
    rest = await keys.list(tenant, first[-1].id, 2)
    assert [key.name for key in first + rest] == ["key 2", "key 1", "key 0"]


async def test_a_tenant_sees_and_ends_its_own_keys_only(
    keys: KeyService, tenant: UUID, owner_db: Database
) -> None:
    rival = await TenantService(owner_db, KEYS).create_tenant("rival")
    key = await keys.create(tenant, KeyRequest("ci"))
    with pytest.raises(KeyNotFoundError):
        await keys.get(rival, key.id)
    with pytest.raises(KeyNotFoundError):
        await keys.revoke(rival, key.id)
    with pytest.raises(KeyNotFoundError):
        await keys.rotate(rival, key.id, overlap=DAY)
    assert await keys.list(rival, None, 10) == []
    assert (await keys.get(tenant, key.id)).revoked_at is None


async def test_a_tenant_has_only_so_many_live_keys(
    keys: KeyService, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_service, "MAX_LIVE_KEYS", 2)
    first = await keys.create(tenant, KeyRequest("1"))
    await keys.create(tenant, KeyRequest("2"))
    with pytest.raises(KeyLimitError, match="2 live"):
        await keys.create(tenant, KeyRequest("3"))
    with pytest.raises(KeyLimitError, match="2 live"):
        await keys.rotate(tenant, first.id, overlap=DAY)
    # The old key ends at once, so that there are never three.
    await keys.rotate(tenant, first.id, overlap=timedelta(0))


async def test_the_role_of_the_api_reads_no_digest_and_grants_no_administration(
    keys: KeyService, tenant: UUID, api_db: Database
) -> None:
    key = await keys.create(tenant, KeyRequest("ci"))
    for statement in (
        "SELECT * FROM api_keys",
        "SELECT digest FROM api_keys",
        "UPDATE api_keys SET scopes = '{admin:write}'",
        "UPDATE api_keys SET tenant_id = gen_random_uuid()",
        "DELETE FROM api_keys",
        "UPDATE tenants SET is_operator = true",
        """INSERT INTO api_keys (id, tenant_id, name, digest, pepper_version, last4, scopes, created_at, expires_at)
           SELECT gen_random_uuid(), tenant_id, 'x', decode(repeat('00', 32), 'hex'), 1, 'xxxx', '{admin:read}',
                  created_at, expires_at FROM api_keys""",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with api_db.transaction(tenant) as conn:
                await conn.execute(statement)
    assert (await keys.get(tenant, key.id)).scopes == sorted(set(Scope) - {"admin:read", "admin:write"})
