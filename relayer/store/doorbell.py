"""News between processes: LISTEN and NOTIFY of PostgreSQL. It saves waiting and is never the truth.

Whoever waits for it also looks by itself now and then, so news that is lost costs time only.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg import AsyncConnection, sql

from relayer.settings import DatabaseSettings

_TRY_AGAIN_S = 1.0


class Listener:
    """Hears what a channel is notified of.

    Args:
        settings: how to reach the server.
        channel: whose news.
        heard: is called with the payload of each notification.
        missed: is called when listening begins, for the first time or again: anything may have been said before.

    """

    def __init__(
        self,
        settings: DatabaseSettings,
        channel: str,
        *,
        heard: Callable[[str], None],
        missed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._channel = channel
        self._heard = heard
        self._missed = missed

    async def listen(self) -> None:
        """Listen until cancelled, through absences of the server."""
        while True:
            with suppress(psycopg.OperationalError):
                await self._listen()
            await asyncio.sleep(_TRY_AGAIN_S)

    async def _listen(self) -> None:
        connection = await AsyncConnection.connect(
            self._settings.url.get_secret_value(),
            autocommit=True,
            connect_timeout=max(1, round(self._settings.connect_timeout.total_seconds())),
        )
        async with connection:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
            self._missed()
            async for notice in connection.notifies():
                self._heard(notice.payload)


class Doorbell:
    """An event that is set whenever a channel is notified; what is said does not matter."""

    def __init__(self, settings: DatabaseSettings, channel: str) -> None:
        self.rung = asyncio.Event()
        self._listener = Listener(settings, channel, heard=lambda _: self.rung.set(), missed=self.rung.set)

    async def listen(self) -> None:
        """Listen until cancelled, through absences of the server."""
        await self._listener.listen()
