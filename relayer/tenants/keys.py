"""API keys: their format, their checksum, and the digest under which they are kept.

A key is `jsl_live_` or `jsl_test_`, 30 random base62 characters (178 bits) and the CRC-32 of all before it in 6 base62
characters, so that a scanner or a typing error is recognised without asking anybody. At rest there is only its
HMAC-SHA-256 under a pepper: with this much entropy a fast hash is enough, and the pepper keeps a stolen database useless.
"""

import hashlib
import hmac
import secrets
import string
import zlib

from relayer.settings import KeySettings
from relayer.tenants.principal import Mode

KEY_PREFIX = "key"
FAMILY = "jsl_"
PREFIXES = {Mode.LIVE: f"{FAMILY}live_", Mode.TEST: f"{FAMILY}test_"}
PREFIX_LENGTH = 9
SECRET_LENGTH = 30
CHECKSUM_LENGTH = 6
KEY_LENGTH = PREFIX_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BASE62_SET = frozenset(_BASE62)
_KNOWN_PREFIXES = frozenset(PREFIXES.values())


def generate_key(mode: Mode = Mode.LIVE) -> str:
    """Make a new key, 45 characters."""
    body = PREFIXES[mode] + "".join(secrets.choice(_BASE62) for _ in range(SECRET_LENGTH))
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether prefix, length, alphabet and checksum are those of a key; says nothing about its existence."""
    prefix, rest = key[:PREFIX_LENGTH], key[PREFIX_LENGTH:]
    if len(key) != KEY_LENGTH or prefix not in _KNOWN_PREFIXES or not _BASE62_SET.issuperset(rest):
        return False
    return _checksum(key[:-CHECKSUM_LENGTH]) == key[-CHECKSUM_LENGTH:]


def key_digest(key: str, pepper: bytes) -> bytes:
    """HMAC-SHA-256 of a key under a pepper, 32 bytes."""
    return hmac.digest(pepper, key.encode(), hashlib.sha256)


class Digests:
    """Remembers the digests of well-formed keys, under a hash that is quick and means nothing outside this process."""

    def __init__(self, peppers: "Peppers", size: int = 10_000) -> None:
        self._peppers = peppers
        self._size = size
        self._secret = secrets.token_bytes(32)
        self._digests: dict[bytes, bytes] = {}

    def of(self, key: str) -> bytes | None:
        """The digest under which a key is written; None where it is not well-formed."""
        shown = hashlib.blake2b(key.encode(), digest_size=32, key=self._secret).digest()
        digest = self._digests.get(shown)
        if digest is None and is_well_formed(key):
            if len(self._digests) >= self._size:
                del self._digests[next(iter(self._digests))]
            digest = self._digests[shown] = self._peppers.digest(key)
        return digest


class Peppers:
    """The pepper under which new keys are kept, and those under which older ones still are."""

    def __init__(self, settings: KeySettings) -> None:
        self.version = settings.pepper_version
        self._current = settings.pepper.get_secret_value()
        self._former = [pepper.get_secret_value() for pepper in settings.former_peppers.values()]

    def digest(self, key: str) -> bytes:
        """The digest under which a key is written."""
        return key_digest(key, self._current)

    def former_digests(self, key: str) -> list[bytes]:
        """The other digests under which a key may be found."""
        return [key_digest(key, pepper) for pepper in self._former]


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        value, digit = divmod(value, len(_BASE62))
        digits = _BASE62[digit] + digits
    return digits
