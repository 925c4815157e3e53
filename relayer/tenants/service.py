"""Who may come in: tenants, their keys, and the check of a key."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from relayer.model.clock import Clock, utc_now
from relayer.model.errors import JobsealError
from relayer.model.ids import new_id
from relayer.settings import KeySettings
from relayer.store.database import Database
from relayer.tenants import repository
from relayer.tenants.keys import generate_key, is_well_formed, key_digest
from relayer.tenants.plans import Limits

DEFAULT_LIFETIME = timedelta(days=90)
MAX_LIFETIME = timedelta(days=365)

_TENANT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_KEY_NAME = re.compile(r"[ -~]{1,64}")


class Scope(StrEnum):
    """What a key may do."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    JOBS_CANCEL = "jobs:cancel"
    JOBS_REDRIVE = "jobs:redrive"
    BLOBS_WRITE = "blobs:write"


EVERY_SCOPE = frozenset(Scope)


class TenantError(JobsealError):
    """A tenant or a key that cannot be made as asked."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request."""

    tenant_id: UUID
    key_id: UUID
    scopes: frozenset[str]
    limits: Limits


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; `secret` is shown once and kept nowhere."""

    id: UUID
    secret: str
    expires_at: datetime


class TenantService:
    """Makes tenants and keys; works in the owner's database role, which alone may write them."""

    def __init__(self, owner_db: Database, keys: KeySettings, clock: Clock = utc_now) -> None:
        self._db = owner_db
        self._keys = keys
        self._clock = clock

    async def create_tenant(self, name: str) -> UUID:
        """Add a tenant.

        Raises:
            TenantError: the name is malformed or taken.

        """
        if not _TENANT_NAME.fullmatch(name):
            raise TenantError(
                f"'{name}' is no tenant name; use 1 to 63 of a-z, 0-9 and '-', not beginning with '-'"
            )
        tenant_id = new_id()
        async with self._db.transaction() as conn:
            if not await repository.insert_tenant(conn, tenant_id, name, self._clock()):
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
        """Add a key that ends at `expires_at`, by default after 90 days, at the latest after 365.

        Raises:
            TenantError: the tenant is unknown, or name, scopes or end are out of range.

        """
        now = self._clock()
        expires_at = expires_at or now + DEFAULT_LIFETIME
        wanted = sorted(set(scopes))
        if not _KEY_NAME.fullmatch(name):
            raise TenantError("a key's name has 1 to 64 printable ASCII characters")
        if not wanted or not EVERY_SCOPE.issuperset(wanted):
            raise TenantError(f"a key needs one or more of the scopes {', '.join(sorted(EVERY_SCOPE))}")
        if not now < expires_at <= now + MAX_LIFETIME:
            raise TenantError(f"a key must end in the future and within {MAX_LIFETIME.days} days")
        secret = generate_key()
        key = repository.ApiKey(
            id=new_id(),
            tenant_id=tenant_id,
            name=name,
            digest=key_digest(secret, self._keys.pepper.get_secret_value()),
            pepper_version=self._keys.pepper_version,
            last4=secret[-4:],
            scopes=[str(scope) for scope in wanted],
            created_at=now,
            expires_at=expires_at,
        )
        async with self._db.transaction() as conn:
            if not await repository.tenant_exists(conn, tenant_id):
                raise TenantError(f"there is no tenant with the id {tenant_id}")
            await repository.insert_key(conn, key)
        return NewKey(id=key.id, secret=secret, expires_at=expires_at)

    async def revoke_key(self, key_id: UUID) -> bool:
        """End a key at once; False where it does not exist or was ended before."""
        async with self._db.transaction() as conn:
            return await repository.revoke_key(conn, key_id, self._clock())


class Authenticator:
    """Checks keys, in the database role of the API."""

    def __init__(self, db: Database, keys: KeySettings, clock: Clock = utc_now) -> None:
        self._db = db
        self._pepper = keys.pepper.get_secret_value()
        self._clock = clock

    async def authenticate(self, key: str) -> Principal | None:
        """Who holds this key; None where it is malformed (found without any I/O), unknown, revoked or expired."""
        if not is_well_formed(key):
            return None
        async with self._db.transaction() as conn:
            found = await repository.authenticate(conn, key_digest(key, self._pepper), self._clock())
        if found is None:
            return None
        return Principal(found.tenant_id, found.key_id, found.scopes, found.limits)
