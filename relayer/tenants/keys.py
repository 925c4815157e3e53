"""API keys: their format, their checksum, and the digest under which they are kept.

A key is `jsl_live_`, 30 random base62 characters (178 bits) and the CRC-32 of all before it in 6 base62 characters,
so that a scanner or a typing error is recognised without asking anybody. At rest there is only its HMAC-SHA-256
under a pepper: with this much entropy a fast hash is enough, and the pepper keeps a stolen database useless.
"""

import hashlib
import hmac
import secrets
import string
import zlib

PREFIX = "jsl_live_"
SECRET_LENGTH = 30
CHECKSUM_LENGTH = 6
KEY_LENGTH = len(PREFIX) + SECRET_LENGTH + CHECKSUM_LENGTH

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BASE62_SET = frozenset(_BASE62)


def generate_key() -> str:
    """Make a new key, 45 characters."""
    body = PREFIX + "".join(secrets.choice(_BASE62) for _ in range(SECRET_LENGTH))
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether prefix, length, alphabet and checksum are those of a key; says nothing about its existence."""
    if len(key) != KEY_LENGTH or not key.startswith(PREFIX) or not _BASE62_SET.issuperset(key[len(PREFIX) :]):
        return False
    return _checksum(key[:-CHECKSUM_LENGTH]) == key[-CHECKSUM_LENGTH:]


def key_digest(key: str, pepper: bytes) -> bytes:
    """HMAC-SHA-256 of a key under a pepper, 32 bytes."""
    return hmac.digest(pepper, key.encode(), hashlib.sha256)


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        value, digit = divmod(value, len(_BASE62))
        digits = _BASE62[digit] + digits
    return digits
