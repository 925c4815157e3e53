import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.server import MAX_HEAD_BYTES, ProblemProtocol
from relayer.local.process import free_port

WAIT_S = 0.3
REQUEST = b"GET / HTTP/1.1\r\nHost: api\r\n\r\n"


class HastyProtocol(ProblemProtocol):
    head_seconds = WAIT_S


async def app(scope: Scope, _: Receive, send: Send) -> None:
    await asyncio.sleep(0.4 if scope["path"] == "/slow" else 0)
    if scope["path"] == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.4)
        await send({"type": "http.response.body", "body": b"ok"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    port = free_port()
    config = uvicorn.Config(app, port=port, http=HastyProtocol, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)
    yield port
    server.should_exit = True
    await serving


async def closed_after(port: int, *sent: bytes) -> tuple[bytes, float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    for part in sent:
        writer.write(part)
        await asyncio.sleep(0.02)
    received = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    return received, time.monotonic() - began


async def test_a_header_that_does_not_become_whole_is_given_up(port: int) -> None:
    for sent in ([], [REQUEST[:-2]], [bytes([one]) for one in REQUEST[:8]]):
        received, seconds = await closed_after(port, *sent)
        assert received == b""
        assert seconds < 2
    # Nor the second on the same connection.
    received, _ = await closed_after(port, REQUEST, REQUEST[:5])
    assert received.endswith(b"ok")


async def test_an_answer_may_take_longer(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(b"GET /slow HTTP/1.1\r\nHost: api\r\n\r\n")
        assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"ok"), 5)
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"NOT HTTP AT ALL\r\n\r\n", b"400 Bad Request", b'"bad_request"'),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nx: " + bytes(MAX_HEAD_BYTES).replace(b"\0", b"x"),
            b"431 ",
            b'"headers_too_large"',
        ),
    ],
)
async def test_what_cannot_be_read_is_a_problem(port: int, sent: bytes, status: bytes, code: bytes) -> None:
    for before in ([], [REQUEST]):
        received, _ = await closed_after(port, *before, sent)
        answer = received.rpartition(b"HTTP/1.1 ")[2]
        assert answer.startswith(status)
        assert b"application/problem+json" in answer
        assert code in answer


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n",
        # The parser takes what follows for another protocol: for the next request, where there is none.
        b"POST / HTTP/1.1\r\nHost: a\r\n" + UPGRADE + b"Content-Length: 2\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\n" + UPGRADE + b"Transfer-Encoding: chunked\r\n",
    ],
)
async def test_what_two_programs_read_differently_is_refused(port: int, head: bytes) -> None:
    for before in ([], [REQUEST]):
        received, _ = await closed_after(port, *before, head + b"\r\n", REQUEST)
        assert received.count(b"HTTP/1.1 ") == len(before) + 1
        answer = received.rpartition(b"HTTP/1.1 ")[2]
        assert answer.startswith(b"400 Bad Request")
        assert b'"bad_request"' in answer


async def test_no_other_protocol_is_changed_to(port: int) -> None:
    websocket = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
    for asked in (UPGRADE, websocket, UPGRADE + b"Content-Length: 0\r\n"):
        received, _ = await closed_after(port, REQUEST[:-2] + asked + b"\r\n", REQUEST, b"?")
        assert received.count(b"200 OK") == 2
    received, _ = await closed_after(port, b"GET / HTTP/1.0\r\n\r\n")
    assert received.count(b"200 OK") == 1


async def test_what_is_malformed_behind_its_head_is_not_begun(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    run = RequestResponseCycle.run_asgi

    async def counted(cycle: RequestResponseCycle, app: Any) -> None:
        begun.append(cycle.scope["path"])
        await run(cycle, app)

    monkeypatch.setattr(RequestResponseCycle, "run_asgi", counted)
    head = b"DELETE /bad HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: "
    for sent in (head + b"gzip\r\n\r\n", head + b"chunked\r\n\r\nxyz\r\n"):
        for before in ([], [REQUEST]):
            received, _ = await closed_after(port, *before, sent)
            assert received.rpartition(b"HTTP/1.1 ")[2].startswith(b"400 Bad Request")
    assert begun == ["/", "/"]


async def test_trailers_are_dropped_and_come_to_an_end(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    on_header = HttpToolsProtocol.on_header

    def counted(protocol: HttpToolsProtocol, name: bytes, value: bytes) -> None:
        seen.append(1)
        on_header(protocol, name, value)

    monkeypatch.setattr(HttpToolsProtocol, "on_header", counted)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"2\r\n{}\r\n0\r\n"
    trailer = b"x: " + b"y" * 1000 + b"\r\n"
    # They are whole, and the connection goes on.
    received, _ = await closed_after(port, head + body + trailer + b"\r\n", REQUEST, b"?")
    assert received.count(b"200 OK") == 2
    assert len(seen) == 3
    # They are endless: the answer that was given is the only one, and the connection ends.
    for sent in ([head + body, trailer * 70], [head + body, b"x: " + b"y" * (MAX_HEAD_BYTES + 1)]):
        received, seconds = await closed_after(port, *sent)
        assert received.count(b"HTTP/1.1 ") == 1
        assert seconds < WAIT_S
    # They stop coming.
    received, seconds = await closed_after(port, head + body, trailer)
    assert received.count(b"HTTP/1.1 ") == 1
    assert WAIT_S / 2 < seconds < 2


async def test_many_requests_on_one_connection_may_be_large_together(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    large = REQUEST[:-2] + b"x: " + b"x" * 20_000 + b"\r\n\r\n"
    for _ in range(10):
        writer.write(large)
        assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"ok"), 5)
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000))
    assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"ok"), 5)
    writer.close()
    await writer.wait_closed()


class Pieces(asyncio.Protocol):
    """A client that keeps what comes as it came."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()

    def data_received(self, data: bytes) -> None:
        self.pieces.put_nowait(data)


def segments_in(transport: asyncio.Transport) -> int:
    """How many TCP segments with data have come: `tcpi_data_segs_in` of Linux."""
    info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
    (segments,) = struct.unpack_from("I", info, 152)
    assert isinstance(segments, int)
    return segments


async def test_head_and_body_leave_together(port: int) -> None:
    transport, client = await asyncio.get_running_loop().create_connection(Pieces, "127.0.0.1", port)
    for _ in range(20):
        transport.write(REQUEST)
        piece = await asyncio.wait_for(client.pieces.get(), 5)
        assert piece.startswith(b"HTTP/1.1 200 OK\r\n")
        assert piece.endswith(b"\r\n\r\nok")
    assert segments_in(transport) == 20
    transport.write(REQUEST.replace(b"GET", b"HEAD"))
    piece = await asyncio.wait_for(client.pieces.get(), 5)
    assert piece.endswith(b"content-length: 2\r\n\r\n")
    transport.close()


async def test_the_head_of_a_stream_does_not_wait_for_its_events(port: int) -> None:
    transport, client = await asyncio.get_running_loop().create_connection(Pieces, "127.0.0.1", port)
    transport.write(REQUEST.replace(b"/", b"/stream", 1))
    piece = await asyncio.wait_for(client.pieces.get(), 5)
    assert piece.endswith(b"transfer-encoding: chunked\r\n\r\n")
    assert client.pieces.empty()
    transport.close()
