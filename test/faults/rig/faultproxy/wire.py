"""HTTP/1.1 as far as JSON-RPC needs it, in plain asyncio: no library of a server breaks an exchange on request."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from faultproxy.calls import Loss

Handle = Callable[[bytes], Awaitable[tuple[bytes, Loss | None]]]
"""Gives the answer to the body of a request, and how it gets lost."""

_STATUS = {Loss.BAD_GATEWAY: "502 Bad Gateway", Loss.THROTTLED: "429 Too Many Requests"}
_SPACES = b" " * 65_536
_HTML = b"<html><body>upstream is busy</body></html>"


class HttpClient:
    """Posts to a server on this machine over one connection, one request after the other."""

    def __init__(self, url: str) -> None:
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._turn = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> bytes:
        async with self._turn:
            reader, writer = self._streams or await asyncio.open_connection(self._host, self._port)
            # Taken back only whole: who was cancelled has left the rest of an answer in it.
            self._streams = None
            head = f"POST / HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readexactly(_length(await reader.readuntil(b"\r\n\r\n")))
            self._streams = reader, writer
            return answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


def _length(head: bytes) -> int:
    """The length of the body that a head announces."""
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if line)
    return int(fields[b"content-length"])


class HttpServer:
    """Answers POST requests on a free port of 127.0.0.1, several on a connection one after the other."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection; `start` opens the same port again."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._open):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False where the connection is of no use any more."""
        body = await reader.readexactly(_length(await reader.readuntil(b"\r\n\r\n")))
        answer, loss = await self._handle(body)
        match loss:
            case Loss.CLOSED:
                writer.transport.abort()
                return False
            case Loss.SILENT:
                await reader.read()
                return False
            case Loss.ENDLESS:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
                while True:
                    writer.write(_SPACES)
                    await writer.drain()
            case Loss.GARBAGE:
                self._write(writer, "200 OK", _HTML)
            case Loss.TRUNCATED:
                self._write(writer, "200 OK", answer[: len(answer) // 2])
            case None:
                self._write(writer, "200 OK", answer)
            case _:
                self._write(writer, _STATUS[loss], _HTML)
        await writer.drain()
        return True

    @staticmethod
    def _write(writer: asyncio.StreamWriter, status: str, body: bytes) -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
