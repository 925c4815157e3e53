"""Tenants and keys that the platform makes by itself: on one machine, in benchmarks and in tests."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from relayer.model.clock import Clock, utc_now
from relayer.settings import KeySettings
from relayer.store.database import Database
from relayer.tenants.administration import Administration
from relayer.tenants.audit import PLATFORM
from relayer.tenants.key_service import KeyRequest, KeyService, NewKey
from relayer.tenants.scopes import EVERY_SCOPE, Scope


class TenantService:
    """Makes tenants, and keys of any of them; works in a database role that may write them."""

    def __init__(self, db: Database, keys: KeySettings, clock: Clock = utc_now) -> None:
        self._tenants = Administration(db, clock)
        self._keys = KeyService(db, keys, clock)

    async def create_tenant(self, name: str, *, is_operator: bool = False) -> UUID:
        """Add a tenant; `is_operator`: it is the platform's own, and its keys may administer.

        Raises:
            TenantError: the name is malformed or taken.

        """
        return (await self._tenants.create(name, PLATFORM, is_operator=is_operator)).id

    async def find_tenant(self, name: str) -> UUID | None:
        """The id of the tenant of this name."""
        found = await self._tenants.find(name)
        return None if found is None else found.id

    async def create_key(
        self,
        tenant_id: UUID,
        name: str,
        scopes: Iterable[Scope] = EVERY_SCOPE,
        expires_at: datetime | None = None,
    ) -> NewKey:
        """Add a key of a tenant, for a person or program that has none yet.

        Raises:
            TenantError: the tenant is unknown, or name, scopes or end are out of range.
            KeyLimitError: the tenant has as many live keys as it may.

        """
        return await self._keys.create(tenant_id, KeyRequest(name, tuple(sorted(set(scopes))), expires_at))
