"""The database of a campaign: its own, and empty before each run."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from relayer.local.postgres import EmbeddedPostgres
from relayer.store import roles
from relayer.store.migrate import migrate

_DATABASE = "chaos"


@dataclass(frozen=True)
class Store:
    """A database with the newest schema, by role."""

    owner: str
    relayer: str
    superuser: str

    def empty(self) -> None:
        """Delete every row, past the triggers that forbid it."""
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            for (table,) in connection.execute(
                "SELECT quote_ident(tablename) FROM pg_tables "
                "WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            ).fetchall():
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - a name of the catalogue


@contextmanager
def store(folder: Path) -> Iterator[Store]:
    """Start a server for as long as the campaign takes."""
    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    try:
        passwords = roles.Passwords(*(secrets.token_hex(16) for _ in range(4)))
        roles.prepare_database(server.admin_dsn, _DATABASE, passwords)
        address = f"{urlsplit(server.admin_dsn).netloc.rpartition('@')[2]}/{_DATABASE}"
        made = Store(
            owner=f"postgresql://{roles.OWNER}:{passwords.owner}@{address}",
            relayer=f"postgresql://{roles.RELAYER}:{passwords.relayer}@{address}",
            superuser=f"{server.admin_dsn.rpartition('/')[0]}/{_DATABASE}",
        )
        migrate(made.owner)
        yield made
    finally:
        server.delete()
