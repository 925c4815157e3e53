"""What keeps a database that is away from taking its users' time: a pulse, a breaker, and a bounded queue.

A connection of its own asks the server a few times a second. As long as nothing is heard, neither there nor on any other
connection, the breaker is open: who waits is refused, what is under way is cut off, and whoever comes is refused at once.
The pulse alone is the probe that closes it, so that no request is spent on finding out.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection

from relayer.model.breaker import Breaker
from relayer.model.errors import UnavailableError
from relayer.store.gate import Gate

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long a process that serves requests waits for its database; times in seconds.

    `silence` and `pulse` together bound how long a request can be caught by a server that stopped answering.
    """

    statement: float = 5.0
    wait: float = 2.0
    most_waiting: int = 1000
    pulse: float = 0.15
    silence: float = 0.6


class Guard:
    """Stands between a process and its pool of connections."""

    def __init__(self, url: str, address: str, places: int, patience: Patience) -> None:
        self.breaker = Breaker("postgresql", rest=patience.pulse)
        self.breaker.listen(self._on_change)
        self._url = url
        self._address = address
        self._away = f"PostgreSQL at {address} does not answer"
        self._patience = patience
        self._gate = Gate(
            places,
            most_waiting=patience.most_waiting,
            longest_wait=patience.wait,
            refusal=f"every connection to PostgreSQL at {address} is in use",
        )
        self._used: set[AsyncConnection[Any]] = set()
        self._own: AsyncConnection[Any] | None = None
        self._heard = 0.0
        self._watching: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many wait for a connection."""
        return self._gate.waiting

    def start(self) -> None:
        """Begin to feel the pulse."""
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop feeling it."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        await self._drop()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn at a connection.

        Raises:
            UnavailableError: the server is away, or too many wait.

        """
        if not self.breaker.is_closed:
            raise UnavailableError(self._away)
        await self._gate.enter()
        try:
            yield
        finally:
            self._gate.leave()

    @asynccontextmanager
    async def use(self, connection: AsyncConnection[Any]) -> AsyncIterator[None]:
        """Cut a connection off when the server falls silent while it is used."""
        self._used.add(connection)
        try:
            yield
            self._heard = asyncio.get_running_loop().time()
        finally:
            self._used.discard(connection)

    async def _watch(self) -> None:
        while True:
            if self.breaker.allows():
                if await self._beats():
                    self.breaker.succeeded()
                else:
                    self.breaker.failed()
                    await self._drop()
            await asyncio.sleep(self._patience.pulse)

    async def _beats(self) -> bool:
        """Whether anything is heard of the server before it has been silent for too long."""
        asked = asyncio.get_running_loop().time()
        beat = asyncio.create_task(self._beat())
        try:
            await asyncio.wait({beat}, timeout=self._patience.silence)
            if not beat.done():
                # This process may have stood still itself: what came meanwhile is read before anything is judged.
                await asyncio.wait({beat}, timeout=self._patience.silence / 8)
            return beat.exception() is None if beat.done() else self._heard > asked
        finally:
            if not beat.done():
                # A task of psycopg that is cancelled asks the server to cancel, and waits: its line is cut first.
                _cut(self._own)
                beat.cancel()
                await asyncio.wait({beat}, timeout=self._patience.silence / 8)
                await self._drop()

    async def _beat(self) -> None:
        try:
            if self._own is None:
                self._own = await AsyncConnection.connect(self._url, autocommit=True)
            await self._own.execute("SELECT 1")
        except (psycopg.Error, OSError):
            await self._drop()
            raise

    async def _drop(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            _cut(own)
            await own.close()

    def _on_change(self, closed: bool) -> None:
        _log.warning("breaker", part="postgresql", closed=closed, address=self._address)
        if not closed:
            self._gate.send_away(self._away)
            for connection in self._used:
                _cut(connection)


def _cut(connection: AsyncConnection[Any] | None) -> None:
    """End a connection's line on this side: whoever waits for an answer sees it break."""
    if connection is None or connection.closed:
        return
    with suppress(OSError, psycopg.Error):
        line = socket.socket(fileno=os.dup(connection.fileno()))
        with line:
            line.shutdown(socket.SHUT_RDWR)
