"""Content as tenants stored it: streamed, and never shown by a browser as part of this site."""

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse


async def attachment(media_type: str, size: int, chunks: AsyncIterator[bytes]) -> StreamingResponse:
    """Answer with a stream of `size` bytes.

    The first chunk is read before the answer begins, so that a missing blob is a problem document.
    """
    first = await anext(chunks, b"")
    return StreamingResponse(
        _from_first(first, chunks),
        headers={
            "Content-Length": str(size),
            "Content-Type": media_type,
            "Content-Disposition": "attachment",
        },
    )


async def _from_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk
