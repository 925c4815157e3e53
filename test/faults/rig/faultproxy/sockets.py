"""WebSockets to the node, frame by frame, which can be cut, silenced, doubled or refused."""

import asyncio
from contextlib import suppress
from http import HTTPStatus

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


class SocketServer:
    """Carries each client's frames to a connection of its own to the node.

    `silent`: what the node says is swallowed, while the connections live on; after `stall` it is on those that are open.
    `doubling`: everything that it says is said twice. `refusing`: new connections are answered with 503.
    """

    def __init__(self, upstream: str) -> None:
        self.silent = False
        self.doubling = False
        self.refusing = False
        self.opened = 0
        self._upstream = upstream
        self._server: Server | None = None
        self._clients: set[ServerConnection] = set()
        self._stalled: set[ServerConnection] = set()
        self._port = 0

    @property
    def url(self) -> str:
        """Its ws address."""
        return f"ws://127.0.0.1:{self._port}"

    async def start(self) -> None:
        self._server = await serve(self._carry, "127.0.0.1", 0, process_request=self._admit)
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self.drop()
        self._server.close()
        await self._server.wait_closed()

    def heal(self) -> None:
        """Be without faults, and without the connections that suffered from them."""
        self.silent = self.doubling = self.refusing = False
        self.drop()

    def stall(self) -> None:
        """Say nothing more on the connections that are open."""
        self._stalled |= self._clients

    def drop(self) -> None:
        """Cut every connection, without a closing handshake."""
        for client in tuple(self._clients):
            client.transport.abort()

    def _admit(self, client: ServerConnection, _: Request) -> Response | None:
        return client.respond(HTTPStatus.SERVICE_UNAVAILABLE, "") if self.refusing else None

    async def _carry(self, client: ServerConnection) -> None:
        self._clients.add(client)
        self.opened += 1
        try:
            async with connect(self._upstream) as node:
                back = asyncio.create_task(self._carry_back(node, client))
                try:
                    async for frame in client:
                        await node.send(frame)
                except ConnectionClosed:
                    pass
                finally:
                    back.cancel()
        finally:
            self._clients.discard(client)
            self._stalled.discard(client)

    async def _carry_back(self, node: ClientConnection, client: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async for frame in node:
                silent = self.silent or client in self._stalled
                for _ in range(0 if silent else 2 if self.doubling else 1):
                    await client.send(frame)
