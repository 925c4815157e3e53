"""Who makes a request: the check of what it shows."""

from relayer.model.clock import Clock, utc_now
from relayer.settings import KeySettings
from relayer.store.database import Database
from relayer.tenants import key_repository
from relayer.tenants.addresses import admits
from relayer.tenants.errors import AddressNotAllowedError, TenantSuspendedError
from relayer.tenants.key_cache import KeyCache
from relayer.tenants.keys import Peppers, is_well_formed
from relayer.tenants.last_used import LastUsed
from relayer.tenants.principal import Principal


class Authenticator:
    """Checks keys, in the database role of the API."""

    def __init__(
        self,
        db: Database,
        settings: KeySettings,
        clock: Clock = utc_now,
        *,
        cache: KeyCache | None = None,
        last_used: LastUsed | None = None,
    ) -> None:
        self._db = db
        self._peppers = Peppers(settings)
        self._clock = clock
        self._cache = cache or KeyCache()
        self._last_used = last_used or LastUsed(db)

    async def authenticate(self, key: str, address: str | None = None) -> Principal | None:
        """Who holds this key; None where it is malformed (found without any I/O), unknown, revoked or expired.

        Args:
            key: what the request shows.
            address: of the client, where it has one.

        Raises:
            AddressNotAllowedError: the key is good, but not from there.
            TenantSuspendedError: the key is good, and its tenant is suspended.
            UnavailableError: the database is away, and what it would say is not remembered.

        """
        principal = await self.find_key(key)
        if principal is None:
            return None
        if not admits(principal.addresses, address):
            raise AddressNotAllowedError(address)
        if principal.suspension_reason is not None:
            raise TenantSuspendedError(principal.suspension_reason)
        self._last_used.note(principal.key_id, self._clock())
        return principal

    async def find_key(self, key: str) -> Principal | None:
        """Who holds this key, wherever he is."""
        if not is_well_formed(key):
            return None
        digest = self._peppers.digest(key)

        async def look_up() -> Principal | None:
            digests = [digest, *self._peppers.former_digests(key)]
            async with self._db.statement() as conn:
                return await key_repository.authenticate(conn, digests=digests, at=self._clock())

        return self._unless_expired(await self._cache.find(digest, look_up))

    def _unless_expired(self, principal: Principal | None) -> Principal | None:
        if principal is None or self._clock() >= principal.expires_at:
            return None
        return principal
