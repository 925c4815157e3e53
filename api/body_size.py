"""How large a body may be, counted as it streams in: a Content-Length is a claim."""

from collections.abc import AsyncIterator

from fastapi import Request

from api.errors import Code, ProblemError


def announced_bytes(request: Request) -> int | None:
    """How large the body is said to be; None where it is not said."""
    text = request.headers.get("content-length", "")
    return int(text[:20]) if text.isdecimal() else None


async def limited_stream(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """Give the body's chunks.

    Raises:
        ProblemError: more than `max_bytes` are announced or come.

    """
    announced = announced_bytes(request)
    if announced is not None and announced > max_bytes:
        raise too_large(max_bytes)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise too_large(max_bytes)
        yield chunk


async def limited_body(request: Request, max_bytes: int) -> bytes:
    """Give the whole body.

    Raises:
        ProblemError: more than `max_bytes` are announced or come.

    """
    return b"".join([chunk async for chunk in limited_stream(request, max_bytes)])


def too_large(max_bytes: int) -> ProblemError:
    """The problem of a body, or an item of one, of more than `max_bytes`."""
    return ProblemError(
        Code.BODY_TOO_LARGE, f"the body is larger than {max_bytes} bytes", meta={"max_bytes": max_bytes}
    )
