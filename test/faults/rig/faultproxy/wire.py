"""HTTP/1.1 as far as JSON-RPC needs it, in plain asyncio: no library of a server breaks an exchange on request."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from faultproxy.calls import Loss

Handle = Callable[[bytes], Awaitable[tuple[bytes, Loss | None]]]
"""Gives the answer to the body of a request, and how it gets lost."""

_STATUS = {Loss.BAD_GATEWAY: "502 Bad Gateway", Loss.THROTTLED: "429 Too Many Requests"}
_HTML = b"<html><body>upstream is busy</body></html>"


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
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if line)
        body = await reader.readexactly(int(fields[b"content-length"]))
        answer, loss = await self._handle(body)
        match loss:
            case Loss.CLOSED:
                writer.transport.abort()
                return False
            case Loss.SILENT:
                await reader.read()
                return False
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
