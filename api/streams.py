"""Content as tenants stored it: streamed, and never shown by a browser as part of this site."""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from uuid import UUID

from fastapi import Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.caching import REVALIDATE, is_known, not_modified
from api.errors import Code, ProblemError

_RETRY_AFTER_S = 1


class OpenStreams:
    """The streams that this process has open, and the answers it holds back: each tenant may have so many."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._open: Counter[UUID] = Counter()

    def count(self, tenant: UUID) -> int:
        """Say how many streams of a tenant are open."""
        return self._open[tenant]

    @contextmanager
    def hold(self, tenant: UUID) -> Iterator[None]:
        """Count a stream while it is open.

        Raises:
            ProblemError: the tenant has as many as it may.

        """
        if self._open[tenant] >= self._cap:
            raise ProblemError(
                Code.TOO_MANY_STREAMS,
                f"{self._cap} streams of this tenant are open, as many as may be; close one",
                meta={"cap": self._cap},
                headers={"Retry-After": str(_RETRY_AFTER_S)},
            )
        self._open[tenant] += 1
        try:
            yield
        finally:
            self._open[tenant] -= 1
            if not self._open[tenant]:
                del self._open[tenant]

    async def counted(self, tenant: UUID, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Give the chunks, and count them as a stream until the last is taken; raises as `hold` does, at the first."""
        with self.hold(tenant):
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk


class _Begun(StreamingResponse):
    """Lets go of the content when the answer ends, even where the client went away before."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None], headers: dict[str, str]) -> None:
        super().__init__(_from_first(first, rest), headers=headers)
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._rest.aclose()


async def begun(chunks: AsyncGenerator[bytes, None], headers: dict[str, str]) -> Response:
    """Answer with a stream whose first chunk is read before the answer begins, so that what refuses it is a problem."""
    return _Begun(await anext(chunks, b""), chunks, headers)


async def attachment(
    request: Request, sha256: bytes, media_type: str, size: int, chunks: AsyncGenerator[bytes, None]
) -> Response:
    """Answer with a stream of `size` bytes that have a SHA-256, or with 304 where the client has them.

    A missing blob is a problem document. Nobody may use the bytes without asking again: their owner may delete them.
    """
    tag = f'"{sha256.hex()}"'
    if is_known(request, tag):
        return not_modified(tag, REVALIDATE)
    headers = {
        "Content-Length": str(size),
        "Content-Type": media_type,
        "Content-Disposition": "attachment",
        "ETag": tag,
        "Cache-Control": REVALIDATE,
    }
    return await begun(chunks, headers)


async def _from_first(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk
