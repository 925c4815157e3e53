"""Pages of lists. A page token is opaque, signed, and good for one list of one tenant only; it grants no authority."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.errors import Code, Fault, ProblemError
from api.fields import QueryInteger

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 200

LIST_PROBLEMS = (Code.INVALID_PARAMETER, Code.INVALID_PAGE_TOKEN)
"""What the reading of a list may end with."""

_MAC_BYTES = 16

Item = TypeVar("Item")


NextPageToken = Annotated[
    str | None,
    Field(description="The token of the next page; absent on the last.", examples=["AZcAAAAAcACAAAAAAAAAAA"]),
]


class PageQuery(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(extra="forbid")

    page_size: Annotated[
        QueryInteger,
        Field(
            ge=0, description=f"How many items at most; more than {MAX_PAGE_SIZE} counts as {MAX_PAGE_SIZE}."
        ),
    ] = DEFAULT_PAGE_SIZE
    page_token: Annotated[
        Annotated[str, StringConstraints(max_length=128)] | None,
        Field(description="`next_page_token` of the page before, with the same filters."),
    ] = None

    @property
    def size(self) -> int:
        """How many items the page holds at most."""
        return min(self.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


@dataclass(frozen=True)
class Listing:
    """What a page token is good for: a list of a tenant, at a path, narrowed by filters."""

    tenant: UUID
    path: str
    filters: Mapping[str, str | None] = field(default_factory=dict)


class PageTokens:
    """Writes and reads page tokens: the position of the last item shown, and a MAC over it and its list."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"jobseal page token, version 1", hashlib.sha256)

    def write(self, listing: Listing, position: bytes) -> str:
        """Make the token of the page after a position."""
        return base64.urlsafe_b64encode(position + self._mac(listing, position)).decode().rstrip("=")

    def read(self, listing: Listing, token: str) -> bytes:
        """Give the position of the last item of the page before: exactly what `write` was given for this list.

        Raises:
            ProblemError: the token was not made for this list.

        """
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        position, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(listing, position)):
            detail = "use next_page_token as it came, with the same filters, or start again without a token"
            raise ProblemError(
                Code.INVALID_PAGE_TOKEN, detail, [Fault("invalid", detail, parameter="page_token")]
            )
        return position

    def _mac(self, listing: Listing, position: bytes) -> bytes:
        # JSON has no NUL, so that only one list and position give these bytes.
        of = json.dumps([listing.path, dict(listing.filters)], sort_keys=True).encode()
        message = listing.tenant.bytes + of + b"\0" + position
        return hmac.digest(self._key, message, hashlib.sha256)[:_MAC_BYTES]


async def read_page(
    tokens: PageTokens,
    listing: Listing,
    query: PageQuery,
    *,
    fetch: Callable[[bytes | None, int], Awaitable[Sequence[Item]]],
    position: Callable[[Item], bytes],
    body: Callable[[Item], dict[str, Any]],
) -> dict[str, Any]:
    """Give the page that a query asks for, as a body.

    Args:
        tokens: signs and checks tokens.
        listing: the list.
        query: size and token.
        fetch: gives up to so many items from behind a position, or from the beginning.
        position: what `fetch` finds an item's successors by; at most 64 bytes.
        body: writes an item as the page shows it.

    Raises:
        ProblemError: the token was not made for this list.

    """
    after = None if query.page_token is None else tokens.read(listing, query.page_token)
    items = await fetch(after, query.size + 1)
    shown = items[: query.size]
    page: dict[str, Any] = {"data": [body(item) for item in shown]}
    if len(items) > len(shown):
        page["next_page_token"] = tokens.write(listing, position(shown[-1]))
    return page
