"""Content as tenants stored it: streamed, and never shown by a browser as part of this site."""

from collections.abc import AsyncGenerator, AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class _Attachment(StreamingResponse):
    """Lets go of the content when the answer ends, even where the client went away before."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None], headers: dict[str, str]) -> None:
        super().__init__(_from_first(first, rest), headers=headers)
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._rest.aclose()


async def attachment(
    media_type: str, size: int, chunks: AsyncGenerator[bytes, None], headers: dict[str, str] | None = None
) -> StreamingResponse:
    """Answer with a stream of `size` bytes.

    The first chunk is read before the answer begins, so that a missing blob is a problem document.
    """
    first = await anext(chunks, b"")
    told = {
        "Content-Length": str(size),
        "Content-Type": media_type,
        "Content-Disposition": "attachment",
    }
    return _Attachment(first, chunks, told | (headers or {}))


async def _from_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk
