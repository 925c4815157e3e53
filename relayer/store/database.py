"""Connections to PostgreSQL: one pool a process, one transaction a piece of work.

Source: psycopg 3 (https://www.psycopg.org/psycopg3/docs/). Every statement is plain SQL in a repository.
"""

import select
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
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
# How long a transaction may wait for its process: a third of a worker's lease.
_LONGEST_PAUSE = "10s"


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
    on when the server returns. `kept` connections stay open while nobody needs them.
    """

    def __init__(self, settings: DatabaseSettings, *, kept: int = 1) -> None:
        url = settings.url.get_secret_value()
        self.address = server_address(url)
        self._pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
            url,
            min_size=min(kept, settings.pool_size),
            max_size=settings.pool_size,
            timeout=_POOL_WAIT_S,
            reconnect_timeout=1.0,
            kwargs={
                "autocommit": True,
                "connect_timeout": max(1, round(settings.connect_timeout.total_seconds())),
            },
            configure=_configure,
            check=_check,
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
    async def transaction(
        self, tenant: UUID | None = None, *, pipelined: bool = False
    ) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Run one transaction: commit at the end, roll back on an error.

        Args:
            tenant: whose rows the API's role may see; set for this transaction only.
            pipelined: send what asks for no answer together with what does, BEGIN with the first question and
                COMMIT with the last statements. A statement's error then shows where an answer is fetched.

        Raises:
            UnavailableError: the server is away, or went away during the transaction (whose outcome is
                then unknown, as with any lost commit).

        """
        async with self._connection() as connection, AsyncExitStack() as stack:
            if pipelined:
                await stack.enter_async_context(connection.pipeline())
            await stack.enter_async_context(connection.transaction())
            if tenant is not None:
                await become(connection, tenant)
            yield connection

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Lend a connection for single statements, each a transaction by itself that takes one round trip.

        Raises:
            UnavailableError: as with `transaction`.

        """
        async with self._connection() as connection:
            yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except PoolTimeout as error:
            raise UnavailableError(f"PostgreSQL at {self.address} does not answer") from error
        except psycopg.OperationalError as error:
            if error.sqlstate is not None and not error.sqlstate.startswith(("08", "57P")):
                raise
            raise UnavailableError(f"PostgreSQL at {self.address} went away") from error

    async def ping(self) -> None:
        """Raise `UnavailableError` unless the server answers."""
        async with self.statement() as connection:
            await connection.execute("SELECT 1")


async def become(connection: AsyncConnection[TupleRow], tenant: UUID) -> None:
    """Let the rest of a transaction, or until it becomes another, see this tenant's rows in the API's role."""
    await connection.execute("SELECT set_config('app.tenant', %s, true)", [str(tenant)])


async def _configure(connection: AsyncConnection[TupleRow]) -> None:
    """Let the server end a transaction whose process stands still, with the locks that it holds."""
    await connection.execute(f"SET idle_in_transaction_session_timeout = '{_LONGEST_PAUSE}'".encode())


async def _check(connection: AsyncConnection[TupleRow]) -> None:
    """Raise where the server closed an idle connection, which costs no round trip.

    A connection at rest has nothing to be read; where it has, the server says whether this is the end.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)
