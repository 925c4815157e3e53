"""Connections to PostgreSQL: one pool a process, one transaction a piece of work.

Source: psycopg 3 (https://www.psycopg.org/psycopg3/docs/). Every statement is plain SQL in a repository.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from relayer.model.errors import UnavailableError
from relayer.settings import DatabaseSettings

# How long a piece of work may wait for a connection before the database counts as away.
_POOL_WAIT_S = 2.0


def server_address(url: str, default_port: int = 5432) -> str:
    """Give `host:port` of a server's URL, without user, password or path, for messages."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    return f"{parts.hostname or 'localhost'}:{port or default_port}"


class Database:
    """A pool of connections in one role.

    Opening never fails because the server is away: a service starts, says that it is not ready, and goes
    on when the server returns.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        url = settings.url.get_secret_value()
        self.address = server_address(url)
        self._pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=settings.pool_size,
            timeout=_POOL_WAIT_S,
            reconnect_timeout=1.0,
            kwargs={"connect_timeout": max(1, round(settings.connect_timeout.total_seconds()))},
            check=AsyncConnectionPool.check_connection,
            open=False,
        )

    async def open(self) -> None:
        """Start the pool, without waiting for a connection."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def transaction(self, tenant: UUID | None = None) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Run one transaction: commit at the end, roll back on an error.

        Args:
            tenant: whose rows the API's role may see; set for this transaction only.

        Raises:
            UnavailableError: the server is away, or went away during the transaction (whose outcome is
                then unknown, as with any lost commit).

        """
        try:
            async with self._pool.connection() as connection, connection.transaction():
                if tenant is not None:
                    await connection.execute("SELECT set_config('app.tenant', %s, true)", [str(tenant)])
                yield connection
        except PoolTimeout as error:
            raise UnavailableError(f"PostgreSQL at {self.address} does not answer") from error
        except psycopg.OperationalError as error:
            if error.sqlstate is not None and not error.sqlstate.startswith(("08", "57P")):
                raise
            raise UnavailableError(f"PostgreSQL at {self.address} went away") from error

    async def ping(self) -> None:
        """Raise `UnavailableError` unless the server answers."""
        async with self.transaction() as connection:
            await connection.execute("SELECT 1")
