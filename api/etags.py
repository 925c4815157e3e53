"""Conditional requests (RFC 9110, 13): whether the client has what it asks for."""

from starlette.requests import Request


def is_known(request: Request, etag: str) -> bool:
    """Whether `If-None-Match` names this tag, quotes included, weakly compared."""
    known = {part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")}
    return etag in known or "*" in known
