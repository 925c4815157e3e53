"""How uvicorn speaks HTTP here: by httptools, and what it cannot read is answered with a problem document as well."""

import asyncio
from typing import ClassVar

import orjson
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.errors import MEDIA_TYPE, Code, ProblemError
from relayer.model.ids import new_id, to_public

MAX_HEAD_BYTES = 64 * 1024
"""How large a request's line and headers, or its trailers, may be before they are whole; the parser has no bound."""

_UNREADABLE = ProblemError(
    Code.BAD_REQUEST, "the request is no well-formed HTTP/1.1; look at its request line, headers and framing"
)
_ENDLESS = ProblemError(
    Code.HEADERS_TOO_LARGE,
    f"the request's line and headers are larger than {MAX_HEAD_BYTES} bytes",
    meta={"max_bytes": MAX_HEAD_BYTES},
)
_LENGTH = b"\r\ncontent-length: "
_REASONS = {400: "Bad Request", 431: "Request Header Fields Too Large"}


class AmbiguousHeadError(Exception):
    """A head that two programs may read differently."""


class _JoinedAnswer(asyncio.Transport):
    """A connection as one answer sees it: a head that announces a body leaves together with its beginning.

    uvicorn writes twice, and every write is a call of the system; ASGI asks a server to send nothing before the body has begun.
    """

    def __init__(self, connection: asyncio.Transport) -> None:
        super().__init__()
        self._connection = connection
        self._head: bytes | None = None
        self._has_begun = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or keep a head until its body begins."""
        head, self._head = self._head, None
        if head is not None:
            self._connection.writelines((head, data))
        elif not self._has_begun and _LENGTH in bytes(data):
            self._head = bytes(data)
        else:
            self._connection.write(data)
        self._has_begun = True

    def close(self) -> None:
        """Close the connection when all is sent."""
        self._connection.close()

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._connection.is_closing()


class ProblemProtocol(HttpToolsProtocol):
    """HTTP/1.1 for uvicorn's `http` setting.

    A head that was begun, or the first of a connection, has to be whole within `head_seconds`; so has what frames a body,
    as long as none of the body comes. The pace of the body itself is the application's business. Trailers are dropped,
    which RFC 9110, 6.5.1 allows.
    """

    head_seconds: ClassVar[float] = 10.0

    _head_bytes = 0
    _in_head = False
    _in_message = False
    _has_moved = False
    _just_begun: asyncio.Task[None] | None = None
    _slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, unless a head, or what follows a body, does not come to its end."""
        self._head_bytes += len(data)
        self._just_begun = None
        self._has_moved = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(_ENDLESS)
        elif not self._in_message or (self._has_moved and not self._in_head):
            self._forget()
        elif self._slow is None:
            self._watch()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_head = self._in_message = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers come this way too."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the application have it.

        Raises:
            AmbiguousHeadError: it is not clear whose request this is (RFC 9112, 3.2), or where it ends.

        """
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            raise AmbiguousHeadError
        if self.parser.should_upgrade() and self._announces_body():
            raise AmbiguousHeadError
        self._in_head = False
        self._has_moved = True
        self._head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Hand it on; what is counted is what comes without any."""
        self._has_moved = True
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Count anew: what has come since the headers was a body."""
        self._in_message = False
        self._head_bytes = 0
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Begin an answer, as uvicorn does, and remember it while what came with the head is parsed."""
        if cycle.scope["method"] != "HEAD":
            cycle.transport = _JoinedAnswer(cycle.transport)
        self._just_begun = self.loop.create_task(cycle.run_asgi(app))
        self._just_begun.add_done_callback(self.tasks.discard)
        self.tasks.add(self._just_begun)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(_UNREADABLE)

    def _announces_body(self) -> bool:
        """Whether a body follows, which the parser takes for the other protocol that the head asks for."""
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in self.headers
        )

    def _should_upgrade(self) -> bool:
        """Change to no other protocol: the request is answered as if it had not asked (RFC 9110, 7.8)."""
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: clients ask by themselves, and strangers could fill the log."""

    def _watch(self) -> None:
        self._slow = self.loop.call_later(self.head_seconds, self.transport.close)

    def _forget(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _refuse(self, problem: ProblemError) -> None:
        """Answer, unless an answer is under way, and end the connection: where the next request begins is unknown.

        What is malformed behind a good head, in the same breath, is refused before the application has seen any of it.
        """
        cycle: RequestResponseCycle | None = self.cycle
        # Within a message the newest answer is the one to it, and nothing may follow that but the next request's.
        is_free = cycle is None or (cycle.response_complete and (self._in_head or not self._in_message))
        if self._just_begun is not None and not self._in_head and not self.pipeline:
            is_free = self._just_begun.cancel()
        if is_free:
            request_id = to_public("req", new_id())
            body = orjson.dumps(problem.document("", request_id))
            headers = {
                "Content-Type": MEDIA_TYPE,
                "Content-Length": str(len(body)),
                "Request-Id": request_id,
                **problem.headers,
                "X-Content-Type-Options": "nosniff",
                "Connection": "close",
            }
            lines = [f"HTTP/1.1 {problem.status} {_REASONS[problem.status]}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()
