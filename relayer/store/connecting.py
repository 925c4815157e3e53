"""Why PostgreSQL is of no use: it does not answer, takes no connection, or has another schema."""

import re
from collections.abc import Callable
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

Note = Callable[[psycopg.OperationalError | None], None]

OF_ANOTHER_SCHEMA = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
)
"""What a statement meets that was written for another schema."""

_REFUSAL = re.compile(r"FATAL: +(.+)")


def no_connection(address: str, error: psycopg.OperationalError | None) -> str:
    """Say what stood in the way, in the server's own words where it answered: a wrong password, no such database."""
    refusal = None if error is None else _REFUSAL.search(str(error))
    if refusal is None:
        return f"PostgreSQL at {address} does not answer"
    return f"PostgreSQL at {address} takes no connection: {refusal[1]}"


def other_schema(address: str, error: psycopg.Error) -> str:
    """Say that the schema is not that of this version, by what was missed first."""
    return (
        f"the schema of PostgreSQL at {address} is not that of this version "
        f"({error.diag.message_primary}); run `jobseal admin migrate` first"
    )


def noting(note: Note) -> type[AsyncConnection[TupleRow]]:
    """Give connections for a pool that note how the last try to connect ended; a pool itself only says that it waited."""

    class NotingConnection(AsyncConnection[TupleRow]):
        @classmethod
        async def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
            try:
                connection = await super().connect(conninfo, **kwargs)
            except psycopg.OperationalError as error:
                note(error)
                raise
            note(None)
            return connection

    return NotingConnection
