"""A bell between processes: LISTEN and NOTIFY of PostgreSQL. It saves waiting and carries nothing.

Whoever waits for it also looks by itself now and then, so a ring that is lost costs time only.
"""

import asyncio
from contextlib import suppress

import psycopg
from psycopg import AsyncConnection, sql

from relayer.settings import DatabaseSettings

_TRY_AGAIN_S = 1.0


class Doorbell:
    """An event that is set whenever a channel is notified."""

    def __init__(self, settings: DatabaseSettings, channel: str) -> None:
        self._settings = settings
        self._channel = channel
        self.rung = asyncio.Event()

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
            # Whatever rang while nobody listened.
            self.rung.set()
            async for _ in connection.notifies():
                self.rung.set()
