"""Page tokens: opaque, signed, good for one tenant and one set of filters only. A token grants no authority."""

import base64
import binascii
import hashlib
import hmac
import json
from uuid import UUID

from api.errors import Code, Fault, ProblemError

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 200

_ID_BYTES = 16
_MAC_BYTES = 16


class PageTokens:
    """Writes and reads page tokens: the last id shown, and a MAC over it, the tenant and the filters."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"jobseal page token, version 1", hashlib.sha256)

    def write(self, last: UUID, *, tenant: UUID, filters: dict[str, str | None]) -> str:
        """Make the token of the page after `last`."""
        token = last.bytes + self._mac(last.bytes, tenant, filters)
        return base64.urlsafe_b64encode(token).decode().rstrip("=")

    def read(self, token: str, *, tenant: UUID, filters: dict[str, str | None]) -> UUID:
        """Give the last id that the page before showed.

        Raises:
            ProblemError: the token was not made for this tenant and these filters.

        """
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        last, mac = raw[:_ID_BYTES], raw[_ID_BYTES:]
        if len(last) != _ID_BYTES or not hmac.compare_digest(mac, self._mac(last, tenant, filters)):
            detail = "use next_page_token as it came, with the same filters, or start again without a token"
            raise ProblemError(
                Code.INVALID_PAGE_TOKEN, detail, [Fault("invalid", detail, parameter="page_token")]
            )
        return UUID(bytes=last)

    def _mac(self, last: bytes, tenant: UUID, filters: dict[str, str | None]) -> bytes:
        message = last + tenant.bytes + json.dumps(filters, sort_keys=True).encode()
        return hmac.digest(self._key, message, hashlib.sha256)[:_MAC_BYTES]
