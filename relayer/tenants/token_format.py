"""Access tokens: JSON Web Tokens of RFC 9068, signed with Ed25519 (RFC 8037). No I/O, no clock.

This platform reads only tokens of its own, so nothing in a header is a choice: it is compared as a whole with the
header that a published key gives, before anything of the token is decoded.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from relayer.model.ids import from_public, to_public
from relayer.tenants.audit_chain import TENANT_PREFIX
from relayer.tenants.keys import KEY_PREFIX
from relayer.tenants.token_claims import TokenClaims

ALGORITHM = "EdDSA"
TYPE = "at+jwt"

_LONGEST = 2048
# How far the clock of the process that issued a token may be ahead.
_CLOCK_SKEW = timedelta(seconds=60)
_REQUIRED = ["iss", "aud", "sub", "client_id", "iat", "exp", "jti", "scope", "tenant"]


class TokenFormat:
    """Writes and reads tokens of one issuer for one audience."""

    def __init__(self, issuer: str, audience: str) -> None:
        self._issuer = issuer
        self._audience = audience

    def write(self, claims: TokenClaims, kid: str, private_key: Ed25519PrivateKey) -> str:
        """Sign a token."""
        client = to_public(KEY_PREFIX, claims.key_id)
        payload = {
            "iss": self._issuer,
            "aud": self._audience,
            # Without a user the subject is the client itself (RFC 9068, section 2.2).
            "sub": client,
            "client_id": client,
            "iat": int(claims.issued_at.timestamp()),
            "exp": int(claims.expires_at.timestamp()),
            "jti": str(claims.jti),
            "scope": " ".join(sorted(claims.scopes)),
            "tenant": to_public(TENANT_PREFIX, claims.tenant_id),
        }
        return jwt.encode(
            payload, private_key, ALGORITHM, headers={"typ": TYPE, "kid": kid}, sort_headers=True
        )

    def read(
        self, token: str, published: Mapping[str, Ed25519PublicKey], now: datetime
    ) -> TokenClaims | None:
        """Check a token; None where it is malformed, forged, of another issuer or audience, expired or not yet good.

        Args:
            token: in compact form, at most 2,048 characters.
            published: the keys that may have signed it, by their ids.
            now: the time.

        """
        if len(token) > _LONGEST or not token.isascii():
            return None
        header = token.partition(".")[0]
        public_key = next((key for kid, key in published.items() if header == _header(kid)), None)
        if public_key is None:
            return None
        try:
            payload = jwt.decode(
                token,
                public_key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                # Times are compared below, with the clock of the caller.
                options={
                    "require": _REQUIRED,
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.InvalidTokenError:
            return None
        claims = _claims(payload)
        if claims is None or now >= claims.expires_at or now + _CLOCK_SKEW < claims.issued_at:
            return None
        return claims


def looks_like_token(text: str) -> bool:
    """Whether a bearer token has the three parts of a signed token."""
    return text.count(".") == 2


def thumbprint(key: Ed25519PublicKey) -> str:
    """The id of a key: its thumbprint of RFC 7638, 43 characters."""
    members = _members(key)
    text = json.dumps({name: members[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
    return _base64url(hashlib.sha256(text.encode()).digest())


def to_jwk(kid: str, key: Ed25519PublicKey) -> dict[str, str]:
    """Write a public key as it is published (RFC 7517, RFC 8037)."""
    return _members(key) | {"kid": kid, "use": "sig", "alg": ALGORITHM}


def _members(key: Ed25519PublicKey) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(key.public_bytes_raw())}


def _header(kid: str) -> str:
    """The first part of every token under a key, as `write` gives it."""
    return _base64url(f'{{"alg":"{ALGORITHM}","kid":"{kid}","typ":"{TYPE}"}}'.encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _claims(payload: dict[str, Any]) -> TokenClaims | None:
    """Read what was signed; None where it is not as `write` writes it."""
    try:
        key_id = from_public(KEY_PREFIX, payload["client_id"])
        tenant_id = from_public(TENANT_PREFIX, payload["tenant"])
        claims = TokenClaims(
            jti=UUID(payload["jti"]),
            key_id=key_id or UUID(int=0),
            tenant_id=tenant_id or UUID(int=0),
            scopes=frozenset(payload["scope"].split()),
            issued_at=datetime.fromtimestamp(payload["iat"], UTC),
            expires_at=datetime.fromtimestamp(payload["exp"], UTC),
        )
    except (AttributeError, TypeError, ValueError, OverflowError, OSError):
        return None
    if key_id is None or tenant_id is None or payload["sub"] != payload["client_id"]:
        return None
    return claims
