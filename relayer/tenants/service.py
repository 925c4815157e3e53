"""Tenants: made and found by whoever administers the platform."""

import re
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from relayer.model.clock import Clock, utc_now
from relayer.model.ids import new_id
from relayer.settings import KeySettings
from relayer.store.database import Database
from relayer.tenants import repository
from relayer.tenants.errors import TenantError
from relayer.tenants.key_service import KeyRequest, KeyService, NewKey
from relayer.tenants.scopes import EVERY_SCOPE, Scope

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class TenantService:
    """Makes tenants, and keys of any of them; works in a database role that may write them."""

    def __init__(self, owner_db: Database, keys: KeySettings, clock: Clock = utc_now) -> None:
        self._db = owner_db
        self._keys = KeyService(owner_db, keys, clock)
        self._clock = clock

    async def create_tenant(self, name: str, *, is_operator: bool = False) -> UUID:
        """Add a tenant; `is_operator`: it is the platform's own, and its keys may administer.

        Raises:
            TenantError: the name is malformed or taken.

        """
        if not _NAME.fullmatch(name):
            raise TenantError(
                f"'{name}' is no tenant name; use 1 to 63 of a-z, 0-9 and '-', not beginning with '-'"
            )
        tenant_id = new_id()
        async with self._db.transaction() as conn:
            if not await repository.insert_tenant(
                conn, tenant_id, name, self._clock(), is_operator=is_operator
            ):
                raise TenantError(f"there is a tenant '{name}' already; choose another name")
        return tenant_id

    async def find_tenant(self, name: str) -> UUID | None:
        """The id of the tenant of this name."""
        async with self._db.transaction() as conn:
            return await repository.find_tenant(conn, name)

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
