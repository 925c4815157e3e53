"""Access tokens: issued to whoever holds a key, read, and revoked."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from relayer.model.clock import Clock
from relayer.model.ids import new_id, to_public
from relayer.settings import TokenSettings
from relayer.store.database import Database
from relayer.tenants import token_repository as repository
from relayer.tenants.audit import Event, Origin, Target, instant, record
from relayer.tenants.errors import NotGrantedError
from relayer.tenants.keys import KEY_PREFIX
from relayer.tenants.principal import Principal
from relayer.tenants.revocations import RevokedTokens
from relayer.tenants.signing import SigningKeys
from relayer.tenants.token_claims import TokenClaims
from relayer.tenants.token_format import TokenFormat, to_jwk

_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token just made, shown once and kept nowhere; `lifetime` is what is left of it."""

    text: str
    claims: TokenClaims
    lifetime: timedelta


class TokenService:
    """Issues, reads and revokes the tokens of this platform, in the role of the API."""

    def __init__(
        self,
        db: Database,
        settings: TokenSettings,
        signing: SigningKeys,
        revoked: RevokedTokens,
        clock: Clock,
    ) -> None:
        self._db = db
        self._lifetime = settings.lifetime
        self._format = TokenFormat(settings.issuer, settings.audience or settings.issuer)
        self._signing = signing
        self._revoked = revoked
        self._clock = clock
        self._checked_by: Mapping[str, Ed25519PublicKey] = {}
        self._checked: dict[bytes, TokenClaims] = {}

    async def issue(self, principal: Principal, scopes: Collection[str] | None = None) -> IssuedToken:
        """Make a token that may do what its key may, or a part of it, and ends before the key does.

        Raises:
            NotGrantedError: scopes that the key does not have.
            UnavailableError: there is no key to sign with, and the database is away.

        """
        granted = principal.scopes if scopes is None else frozenset(scopes)
        beyond = sorted(granted - principal.scopes)
        if beyond or not granted:
            raise NotGrantedError(beyond)
        signer = await self._signing.signer()
        now = self._clock().replace(microsecond=0)
        claims = TokenClaims(
            jti=new_id(),
            key_id=principal.key_id,
            tenant_id=principal.tenant_id,
            scopes=granted,
            issued_at=now,
            expires_at=min(now + self._lifetime, principal.expires_at.replace(microsecond=0)),
        )
        text = self._format.write(claims, signer.kid, signer.private_key)
        return IssuedToken(text, claims, claims.expires_at - now)

    async def read(self, token: str) -> TokenClaims | None:
        """What a token says; None where it is malformed, forged, expired or revoked.

        Raises:
            UnavailableError: the database is away, and what is remembered does not say.

        """
        claims = self._signed(token, await self._signing.published())
        if claims is None or self._clock() >= claims.expires_at or await self._revoked.contains(claims.jti):
            return None
        return claims

    def _signed(self, token: str, published: Mapping[str, Ed25519PublicKey]) -> TokenClaims | None:
        """Check a token, or remember that it was checked by the same keys: a signature costs more than all the rest."""
        if published is not self._checked_by:
            self._checked_by, self._checked = published, {}
        digest = hashlib.sha256(token.encode()).digest()
        claims = self._checked.get(digest)
        if claims is None:
            claims = self._format.read(token, published, self._clock())
            if claims is not None:
                if len(self._checked) >= _REMEMBERED:
                    self._checked.clear()
                self._checked[digest] = claims
        return claims

    async def revoke(self, claims: TokenClaims, origin: Origin) -> None:
        """End a token before its time, everywhere within a minute; once more changes nothing.

        `origin` is what the audit log says of who does it.

        Raises:
            UnavailableError: the database is away.

        """
        async with self._db.transaction(claims.tenant_id) as conn:
            now = self._clock()
            if await repository.revoke(conn, claims, now):
                await record(conn, _revoked(claims, origin, now))
        self._revoked.add(claims.jti, claims.expires_at)

    async def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Give the keys by which anybody can check tokens, as a JWK Set (RFC 7517).

        Raises:
            UnavailableError: the database is away, and was since this process began.

        """
        published = await self._signing.published()
        return {"keys": [to_jwk(kid, key) for kid, key in published.items()]}


def _revoked(claims: TokenClaims, origin: Origin, at: datetime) -> Event:
    return Event(
        tenant_id=claims.tenant_id,
        action="access_token.revoked",
        origin=origin,
        occurred_at=at,
        targets=[
            Target("access_token", str(claims.jti)),
            Target("api_key", to_public(KEY_PREFIX, claims.key_id)),
        ],
        metadata={"scopes": sorted(claims.scopes), "expires_at": instant(claims.expires_at)},
    )
