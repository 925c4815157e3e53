"""Who makes a request: the check of the key or the access token that it shows."""

import hmac
from dataclasses import replace
from uuid import UUID

from relayer.model.clock import Clock, utc_now
from relayer.settings import KeySettings
from relayer.store.database import Database
from relayer.tenants import key_repository
from relayer.tenants.addresses import admits
from relayer.tenants.errors import AddressNotAllowedError, TenantSuspendedError
from relayer.tenants.key_cache import KeyCache
from relayer.tenants.keys import Digests, Peppers
from relayer.tenants.last_used import LastUsed
from relayer.tenants.principal import Principal
from relayer.tenants.refusals import Reason, Refusals
from relayer.tenants.token_format import looks_like_token
from relayer.tenants.token_service import TokenService


class Authenticator:
    """Checks keys and tokens, in the database role of the API; without `tokens` it takes keys alone."""

    def __init__(
        self,
        db: Database,
        settings: KeySettings,
        clock: Clock = utc_now,
        *,
        tokens: TokenService | None = None,
        cache: KeyCache | None = None,
        last_used: LastUsed | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self._db = db
        self._peppers = Peppers(settings)
        self._digests = Digests(self._peppers)
        self._clock = clock
        self._tokens = tokens
        self._cache = cache or KeyCache()
        self._last_used = last_used or LastUsed(db)
        self.refusals = refusals or Refusals(db, clock)

    async def authenticate(self, credential: str, address: str | None = None) -> Principal | None:
        """Who shows this key or token; None where it is malformed (found without any I/O), unknown, revoked or expired.

        Args:
            credential: what the request shows.
            address: of the client, where it has one.

        Raises:
            AddressNotAllowedError: it is good, but not from there.
            TenantSuspendedError: it is good, and its tenant is suspended.
            UnavailableError: the database is away, and what it would say is not remembered.

        """
        if self._tokens is not None and looks_like_token(credential):
            principal = await self._by_token(self._tokens, credential, address)
        else:
            principal = await self._by_key(credential, address)
        return self._admitted(principal, address)

    async def authenticate_client(
        self, key_id: UUID | None, secret: str, address: str | None
    ) -> Principal | None:
        """Who holds the key with this id and this secret, which are a client's of OAuth; else as `authenticate`."""
        principal = await self._by_key(secret, address)
        if principal is None or key_id is None:
            return None
        if not hmac.compare_digest(principal.key_id.bytes, key_id.bytes):
            return None
        return self._admitted(principal, address)

    def _admitted(self, principal: Principal | None, address: str | None) -> Principal | None:
        now = self._clock()
        if principal is None:
            return None
        if now >= principal.expires_at:
            self.refusals.note(principal, Reason.EXPIRED, address)
            return None
        if not admits(principal.addresses, address):
            self.refusals.note(principal, Reason.ADDRESS_NOT_ALLOWED, address)
            raise AddressNotAllowedError(address)
        if principal.suspension_reason is not None:
            raise TenantSuspendedError(principal.suspension_reason)
        self._last_used.note(principal.key_id, now)
        return principal

    async def _by_key(self, key: str, address: str | None) -> Principal | None:
        digest = self._digests.of(key)
        if digest is None:
            self.refusals.note_unknown(address)
            return None
        known = self._cache.known(digest)
        if known is not None:
            return known

        digests = [digest, *self._peppers.former_digests(key)]

        async def look_up() -> Principal | None:
            async with self._db.statement() as conn:
                return await key_repository.authenticate(conn, digests=digests, at=self._clock())

        principal = await self._cache.find(digest, look_up)
        if principal is None:
            self.refusals.note_ended(digest, digests, address)
        return principal

    async def _by_token(self, tokens: TokenService, token: str, address: str | None) -> Principal | None:
        """A token is good as long as its key is, and never for more than its key."""
        claims = await tokens.read(token)
        if claims is None:
            self.refusals.note_unknown(address)
            return None

        async def look_up() -> Principal | None:
            async with self._db.statement() as conn:
                return await key_repository.authenticate(conn, key_id=claims.key_id, at=self._clock())

        principal = await self._cache.find(claims.key_id, look_up)
        if principal is None:
            self.refusals.note_ended(claims.key_id, (), address)
        if principal is None or principal.tenant_id != claims.tenant_id:
            return None
        return replace(principal, scopes=claims.scopes & principal.scopes, token_id=claims.jti)
