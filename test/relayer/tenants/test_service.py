from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from pydantic import SecretBytes, SecretStr

from relayer.model.ids import new_id
from relayer.settings import DatabaseSettings, KeySettings
from relayer.store.database import Database
from relayer.tenants.keys import generate_key, is_well_formed
from relayer.tenants.service import Authenticator, Scope, TenantError, TenantService

KEYS = KeySettings(pepper=SecretBytes(b"pepper of the tests"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class HeldClock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


async def test_a_key_stands_for_its_tenant_and_scopes(owner_db: Database, api_db: Database) -> None:
    tenants = TenantService(owner_db, KEYS)
    tenant = await tenants.create_tenant("acme")
    key = await tenants.create_key(tenant, "ci", [Scope.JOBS_READ])
    assert is_well_formed(key.secret)
    principal = await Authenticator(api_db, KEYS).authenticate(key.secret)
    assert principal is not None
    assert (principal.tenant_id, principal.key_id) == (tenant, key.id)
    assert principal.scopes == {"jobs:read"}
    assert await tenants.find_tenant("acme") == tenant
    assert await tenants.find_tenant("nobody") is None


async def test_the_secret_is_not_at_rest(owner_db: Database) -> None:
    tenants = TenantService(owner_db, KEYS)
    key = await tenants.create_key(await tenants.create_tenant("acme"), "ci")
    async with owner_db.transaction() as conn:
        row = await (await conn.execute("SELECT k::text FROM api_keys k")).fetchone()
    assert row is not None
    assert key.secret not in row[0]
    assert key.secret[:-4] not in row[0]


async def test_unknown_revoked_and_expired_keys_and_another_pepper_are_refused(
    owner_db: Database, api_db: Database
) -> None:
    clock = HeldClock()
    tenants = TenantService(owner_db, KEYS, clock)
    authenticator = Authenticator(api_db, KEYS, clock)
    tenant = await tenants.create_tenant("acme")
    key = await tenants.create_key(tenant, "ci")
    revoked = await tenants.create_key(tenant, "old")

    assert await authenticator.authenticate(generate_key()) is None
    other = KeySettings(pepper=SecretBytes(b"another"))
    assert await Authenticator(api_db, other, clock).authenticate(key.secret) is None

    assert await authenticator.authenticate(revoked.secret) is not None
    assert await tenants.revoke_key(revoked.id)
    assert not await tenants.revoke_key(revoked.id)
    assert await authenticator.authenticate(revoked.secret) is None

    assert key.expires_at == NOW + timedelta(days=90)
    clock.now = key.expires_at - timedelta(microseconds=1)
    assert await authenticator.authenticate(key.secret) is not None
    clock.now = key.expires_at
    assert await authenticator.authenticate(key.secret) is None


async def test_a_malformed_key_costs_no_query() -> None:
    never_opened = Database(DatabaseSettings(url=SecretStr("postgresql://nobody@127.0.0.1:1/nothing")))
    assert await Authenticator(never_opened, KEYS).authenticate("jsl_live_nonsense") is None


@pytest.mark.parametrize("name", ["", "Acme", "-acme", "a" * 64, "a b", "a\n"])
async def test_a_bad_tenant_name_is_refused(owner_db: Database, name: str) -> None:
    with pytest.raises(TenantError, match="tenant name"):
        await TenantService(owner_db, KEYS).create_tenant(name)


async def test_names_of_tenants_are_unique(owner_db: Database) -> None:
    tenants = TenantService(owner_db, KEYS)
    await tenants.create_tenant("acme")
    with pytest.raises(TenantError, match="already"):
        await tenants.create_tenant("acme")


async def test_a_key_needs_a_tenant_a_name_a_scope_and_an_end_within_a_year(owner_db: Database) -> None:
    clock = HeldClock()
    tenants = TenantService(owner_db, KEYS, clock)
    tenant = await tenants.create_tenant("acme")
    with pytest.raises(TenantError, match="no tenant"):
        await tenants.create_key(new_id(), "ci")
    with pytest.raises(TenantError, match="name"):
        await tenants.create_key(tenant, "")
    with pytest.raises(TenantError, match="scopes"):
        await tenants.create_key(tenant, "ci", [])
    for end in (NOW, NOW + timedelta(days=365, microseconds=1)):
        with pytest.raises(TenantError, match="365 days"):
            await tenants.create_key(tenant, "ci", expires_at=end)
    longest = await tenants.create_key(tenant, "ci", expires_at=NOW + timedelta(days=365))
    assert longest.expires_at == NOW + timedelta(days=365)


async def test_the_role_of_the_api_cannot_read_keys(owner_db: Database, api_db: Database) -> None:
    tenants = TenantService(owner_db, KEYS)
    tenant = await tenants.create_tenant("acme")
    await tenants.create_key(tenant, "ci")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with api_db.transaction(tenant) as conn:
            await conn.execute("SELECT * FROM api_keys")
