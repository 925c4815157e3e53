"""What clients may keep, and for how long (RFC 9111); asking again by `If-None-Match` (RFC 9110, 13.1.2)."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request, Response

from api.schemas import headers

REVALIDATE = "private, no-cache"
"""May be kept by the client, and used when the platform has said that it still holds."""
KEEP = "private, max-age=31536000, immutable"
"""Never changes."""

NOT_MODIFIED: dict[str, Any] = {
    "description": "It is as the client knows it",
    **headers("ETag", "Cache-Control"),
}


def tag_of(content: bytes) -> str:
    """Give the entity tag of a representation."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def is_known(request: Request, tag: str) -> bool:
    """Whether the client has this already; weak tags count as others do."""
    if "if-none-match" not in request.headers:
        return False
    known = {part.strip().removeprefix("W/") for part in request.headers["if-none-match"].split(",")}
    return bool(known & {tag.removeprefix("W/"), "*"})


def not_modified(tag: str, control: str, told: Mapping[str, str] | None = None) -> Response:
    """Answer that nothing changed."""
    return Response(status_code=304, headers={"ETag": tag, "Cache-Control": control} | dict(told or {}))


def conditional(
    request: Request,
    tag: str,
    control: str,
    make: Callable[[], Response],
    told: Mapping[str, str] | None = None,
) -> Response:
    """Answer with what `make` gives, or with 304 where the client has it; with the headers that are `told` either way."""
    if is_known(request, tag):
        return not_modified(tag, control, told)
    response = make()
    response.headers.update({"ETag": tag, "Cache-Control": control} | dict(told or {}))
    return response
