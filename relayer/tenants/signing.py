"""The keys that sign access tokens: made, rotated and retired without a moment in which a good token is refused.

There is always one key that signs and one that will: a key is published an hour or more before its first signature, so
that whoever caches the published set knows it in time, and after its last one as long as tokens under it live. Any API
process does what is due, under a lock; the others hear of it.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from relayer.model.clock import Clock
from relayer.model.errors import UnavailableError
from relayer.settings import TokenSettings
from relayer.store.database import Database
from relayer.tenants import signing_repository as repository
from relayer.tenants.signing_repository import Connection, SigningKey, State
from relayer.tenants.token_format import thumbprint

PUBLISHED_AHEAD = timedelta(hours=1)
# For clocks that differ, and for a process that has not heard yet that its key was retired.
PUBLISHED_AFTER = timedelta(minutes=5)

# A process that cannot read a key replaces it, but not while that may be the work of another with another secret: two
# of them would go on replacing each other's.
PATIENCE = timedelta(minutes=5)

_NONCE_BYTES = 12

_log = structlog.get_logger(__name__)


class PrivateKeyCipher:
    """Encrypts private keys with AES-256-GCM (NIST SP 800-38D) under a key derived from a secret (HKDF, RFC 5869).

    The key's id is associated data: one row cannot stand in for another. What a former secret encrypted is read too.
    """

    def __init__(self, secret: bytes, former_secret: bytes | None = None) -> None:
        self._current = _derived(secret)
        self._all = [self._current] if former_secret is None else [self._current, _derived(former_secret)]

    def encrypt(self, kid: str, private_key: Ed25519PrivateKey) -> bytes:
        """Write a private key as it is kept."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._current.encrypt(nonce, private_key.private_bytes_raw(), kid.encode())

    def decrypt(self, kid: str, data: bytes) -> Ed25519PrivateKey | None:
        """Read a private key; None where it was written under another secret, or changed."""
        for cipher in self._all:
            with suppress(InvalidTag, ValueError):
                raw = cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], kid.encode())
                return Ed25519PrivateKey.from_private_bytes(raw)
        return None


@dataclass(frozen=True, slots=True)
class Signer:
    """The key that signs now."""

    kid: str
    private_key: Ed25519PrivateKey


class SigningKeys:
    """What this process signs with and checks by, as it was when it last looked."""

    def __init__(self, db: Database, settings: TokenSettings, clock: Clock) -> None:
        self._db = db
        former = settings.former_secret
        self._cipher = PrivateKeyCipher(
            settings.secret.get_secret_value(), None if former is None else former.get_secret_value()
        )
        self._rotate_every = settings.rotate_every
        self._kept_for = settings.lifetime + PUBLISHED_AFTER
        self._clock = clock
        self._signer: Signer | None = None
        self._published: dict[str, Ed25519PublicKey] = {}

    async def signer(self) -> Signer:
        """Give the key that signs now.

        Raises:
            UnavailableError: the database is away, or there is no key that this process can read.

        """
        if self._signer is None:
            await self.refresh()
        if self._signer is None:
            raise UnavailableError(
                "the key that signs access tokens was encrypted under another JOBSEAL_TOKENS_SECRET"
            )
        return self._signer

    async def published(self) -> dict[str, Ed25519PublicKey]:
        """Give the keys by which tokens are checked, by their ids.

        Raises:
            UnavailableError: the database is away, and was since this process began.

        """
        if not self._published:
            await self.refresh()
        return self._published

    async def refresh(self) -> None:
        """Look at the keys, and do what is due.

        Raises:
            UnavailableError: the database is away.

        """
        async with self._db.statement() as conn:
            keys = await repository.signing_keys(conn)
        if self._is_due(keys):
            async with self._db.transaction() as conn:
                await repository.lock(conn)
                await self._tend(conn)
                keys = await repository.signing_keys(conn)
        current = _of(keys, "current")
        private_key = current and self._cipher.decrypt(current.kid, current.private_key)
        self._signer = Signer(current.kid, private_key) if current and private_key else None
        # The same object as long as the keys are the same.
        if self._published.keys() != {key.kid for key in keys}:
            self._published = {key.kid: Ed25519PublicKey.from_public_bytes(key.public_key) for key in keys}

    def _is_due(self, keys: list[SigningKey]) -> bool:
        current, following = _of(keys, "current"), _of(keys, "next")
        now = self._clock()
        return (
            current is None
            or following is None
            or self._is_lost(current)
            or self._is_lost(following)
            or self._is_time(current, following)
            or any(key.retired_at is not None and key.retired_at + self._kept_for <= now for key in keys)
        )

    def _is_lost(self, key: SigningKey) -> bool:
        """Whether nobody is left who can sign with a key, as far as this process can tell."""
        since = key.activated_at or key.created_at
        return since + PATIENCE <= self._clock() and self._cipher.decrypt(key.kid, key.private_key) is None

    def _is_time(self, current: SigningKey, following: SigningKey) -> bool:
        """Whether the next key should take over, and may."""
        since, now = current.activated_at or current.created_at, self._clock()
        return since + self._rotate_every <= now and following.created_at + PUBLISHED_AHEAD <= now

    async def _tend(self, conn: Connection) -> None:
        now = self._clock()
        keys = await repository.signing_keys(conn)
        current, following = _of(keys, "current"), _of(keys, "next")
        if following is not None and self._is_lost(following):
            await self._retire(conn, following)
            following = None
        if current is not None and self._is_lost(current):
            await self._retire(conn, current)
            current = None
        if current is not None and following is not None and self._is_time(current, following):
            await repository.retire(conn, current.kid, now)
            current = None
        if current is None and following is not None:
            await repository.promote(conn, following.kid, now)
            current, following = following, None
        if current is None:
            await repository.insert(conn, self._made("current", now))
        if following is None:
            await repository.insert(conn, self._made("next", now))
        await repository.forget_retired(conn, now - self._kept_for)

    async def _retire(self, conn: Connection, key: SigningKey) -> None:
        """Let a key that nobody can read sign no more; what was signed with it stays good."""
        _log.warning("signing_key_unreadable", kid=key.kid, reason="JOBSEAL_TOKENS_SECRET was changed")
        await repository.retire(conn, key.kid, self._clock())

    def _made(self, state: State, now: datetime) -> SigningKey:
        private_key = Ed25519PrivateKey.generate()
        public_key = private_key.public_key()
        kid = thumbprint(public_key)
        _log.info("signing_key_made", kid=kid, state=state)
        return SigningKey(
            kid=kid,
            state=state,
            public_key=public_key.public_bytes_raw(),
            private_key=self._cipher.encrypt(kid, private_key),
            created_at=now,
            activated_at=now if state == "current" else None,
        )


def _derived(secret: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=b"jobseal signing keys, version 1").derive(secret))


def _of(keys: list[SigningKey], state: State) -> SigningKey | None:
    return next((key for key in keys if key.state == state), None)
