import pytest
from pydantic import SecretBytes

from relayer.settings import KeySettings
from relayer.store.database import Database
from relayer.tenants.errors import TenantError
from relayer.tenants.scopes import Scope
from relayer.tenants.service import TenantService

KEYS = KeySettings(pepper=SecretBytes(b"pepper of the tests"))


@pytest.mark.parametrize("name", ["", "Acme", "-acme", "a" * 64, "a b", "a\n"])
async def test_a_bad_tenant_name_is_refused(owner_db: Database, name: str) -> None:
    with pytest.raises(TenantError, match="tenant name"):
        await TenantService(owner_db, KEYS).create_tenant(name)


async def test_names_of_tenants_are_unique(owner_db: Database) -> None:
    tenants = TenantService(owner_db, KEYS)
    tenant = await tenants.create_tenant("acme")
    with pytest.raises(TenantError, match="already"):
        await tenants.create_tenant("acme")
    assert await tenants.find_tenant("acme") == tenant
    assert await tenants.find_tenant("nobody") is None


async def test_only_keys_of_the_platforms_own_tenants_administer(owner_db: Database) -> None:
    tenants = TenantService(owner_db, KEYS)
    tenant = await tenants.create_tenant("acme")
    operator = await tenants.create_tenant("platform", is_operator=True)
    with pytest.raises(TenantError, match="needs one or more of the scopes") as caught:
        await tenants.create_key(tenant, "root", [Scope.ADMIN_READ])
    assert "admin" not in str(caught.value)
    key = await tenants.create_key(operator, "root", [Scope.ADMIN_READ])
    assert key.key.scopes == ["admin:read"]
