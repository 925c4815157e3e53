"""Connections to PostgreSQL: one pool a process, one transaction a piece of work.

Source: psycopg 3 (https://www.psycopg.org/psycopg3/docs/). Every statement is plain SQL in a repository.
"""

import select
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Self, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from relayer.model.errors import JobsealError, UnavailableError
from relayer.settings import DatabaseSettings
from relayer.store.connecting import OF_ANOTHER_SCHEMA, no_connection, noting, other_schema
from relayer.store.guard import Guard, Patience

T = TypeVar("T")

# How long a piece of work may wait for a connection before the database counts as away.
_POOL_WAIT_S = 2.0
# How long a transaction may wait for its process: a third of a worker's lease.
_LONGEST_PAUSE = "10s"


class ConnectionLostError(UnavailableError):
    """A connection broke while it was used: what was asked last may have happened or not."""


class TookTooLongError(UnavailableError):
    """A statement took longer than it may: nothing of its transaction was kept."""


class SchemaError(JobsealError):
    """The database lacks what this version asks of it."""


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

    Args:
        settings: where it is.
        patience: of a process that serves requests, which are refused soon when the server does not answer; without
            it whoever asks waits for as long as it takes.
        kept: how many connections stay open while nobody needs them.

    """

    def __init__(
        self, settings: DatabaseSettings, patience: Patience | None = None, *, kept: int = 1
    ) -> None:
        url = settings.url.get_secret_value()
        self.address = server_address(url)
        self.guard = None if patience is None else Guard(url, self.address, settings.pool_size, patience)
        self._refusal: psycopg.OperationalError | None = None
        self._pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
            url,
            min_size=min(kept, settings.pool_size),
            max_size=settings.pool_size,
            connection_class=noting(self._note),
            timeout=_POOL_WAIT_S if patience is None else patience.silence,
            reconnect_timeout=1.0,
            kwargs={
                "autocommit": True,
                "connect_timeout": max(1, round(settings.connect_timeout.total_seconds())),
            },
            configure=partial(_configure, statement_s=None if patience is None else patience.statement),
            open=False,
        )

    async def open(self) -> None:
        """Start the pool, without waiting for a connection."""
        await self._pool.open(wait=False)
        if self.guard is not None:
            self.guard.start()

    async def close(self) -> None:
        """Close every connection."""
        if self.guard is not None:
            await self.guard.stop()
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
            SchemaError: a table, column or function is missing.

        """
        async with self._connection() as connection, connection.transaction():
            if tenant is not None:
                await act_for(connection, tenant)
            yield connection

    @asynccontextmanager
    async def pipelined(self, tenant: UUID | None = None) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Run one transaction whose statements are sent together, without BEGIN and COMMIT: all take place or none.

        Until the end of a pipeline PostgreSQL makes one implicit transaction of what it is sent ("Pipeline Mode" in the
        documentation of libpq). A statement's error shows where an answer is fetched, or at the end. An error of the
        block itself does not take back what was sent before it: whoever writes builds everything first, then sends.

        Raises:
            UnavailableError: as with `transaction`.

        """
        async with self._connection() as connection:
            try:
                async with connection.pipeline():
                    if tenant is not None:
                        await act_for(connection, tenant)
                    yield connection
            except BaseException:
                # The server skipped what was to be prepared after the error, and the driver takes it for prepared.
                await connection.close()
                raise

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Lend a connection for single statements, each a transaction by itself that takes one round trip.

        Raises:
            UnavailableError: as with `transaction`.

        """
        async with self._connection() as connection:
            yield connection

    async def read(
        self, tenant: UUID | None, question: Callable[[AsyncConnection[TupleRow]], Awaitable[T]]
    ) -> T:
        """Ask a question that changes nothing, in a transaction; once more where the connection broke.

        What changes something is never repeated here: whether it was kept is unknown. Its caller repeats it, under
        the same idempotency key.

        Raises:
            UnavailableError: as with `transaction`.

        """
        try:
            async with self.pipelined(tenant) as connection:
                return await question(connection)
        except ConnectionLostError:
            async with self.pipelined(tenant) as connection:
                return await question(connection)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        try:
            async with self._pooled() as connection:
                yield connection
        except PoolTimeout as error:
            # What an API process says is open to all, and the server's words name the role.
            refusal = self._refusal if self.guard is None else None
            raise UnavailableError(no_connection(self.address, refusal)) from error
        except psycopg.errors.QueryCanceled as error:
            raise TookTooLongError(f"PostgreSQL at {self.address} took too long") from error
        except OF_ANOTHER_SCHEMA as error:
            raise SchemaError(other_schema(self.address, error)) from error
        except psycopg.OperationalError as error:
            if error.sqlstate is not None and not error.sqlstate.startswith(("08", "57P")):
                raise
            raise ConnectionLostError(f"PostgreSQL at {self.address} went away") from error

    @asynccontextmanager
    async def _pooled(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        if self.guard is None:
            async with self._living() as connection:
                yield connection
            return
        async with self.guard.turn(), self._living() as connection, self.guard.use(connection):
            yield connection

    @asynccontextmanager
    async def _living(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Lend a connection that the server has not closed."""
        connection = await self._take()
        try:
            async with connection:
                yield connection
        finally:
            await self._pool.putconn(connection)

    async def _take(self) -> AsyncConnection[TupleRow]:
        """Take a connection out of the pool, which replaces those that are found closed.

        A restart of the server closes all that are at rest. The pool's own check pauses for a second after each of them,
        and so would refuse the first requests to a server that has long been back.
        """
        while True:
            connection = await self._pool.getconn()
            lives = False
            try:
                lives = await _lives(connection)
            finally:
                if not lives:
                    await self._pool.putconn(connection)
            if lives:
                return connection

    def _note(self, refusal: psycopg.OperationalError | None) -> None:
        self._refusal = refusal

    async def ping(self) -> None:
        """Raise `UnavailableError` unless the server answers."""
        async with self.statement() as connection:
            await connection.execute("SELECT 1")


async def act_for(connection: AsyncConnection[TupleRow], tenant: UUID) -> None:
    """Let the API's role see the rows of a tenant, until the end of the transaction or the next call."""
    await connection.execute("SELECT set_config('app.tenant', %s, true)", [str(tenant)])


async def _configure(connection: AsyncConnection[TupleRow], statement_s: float | None) -> None:
    """Let the server end a transaction whose process stands still, with the locks that it holds."""
    await connection.execute(f"SET idle_in_transaction_session_timeout = '{_LONGEST_PAUSE}'".encode())
    if statement_s is not None:
        await connection.execute(f"SET statement_timeout = {round(statement_s * 1000)}".encode())


async def _lives(connection: AsyncConnection[TupleRow]) -> bool:
    """Whether the server has not closed an idle connection, which costs no round trip.

    A connection at rest has nothing to be read; where it has, the server says whether this is the end.
    """
    with suppress(psycopg.OperationalError):
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        if poll.poll(0):
            await AsyncConnectionPool.check_connection(connection)
    return not connection.closed
