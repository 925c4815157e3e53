"""Brings a database to the newest schema."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from relayer.model.errors import JobsealError, UnavailableError
from relayer.store.connecting import no_connection
from relayer.store.database import server_address


class MigrationError(JobsealError):
    """A migration that the server refuses."""


def migrate(owner_url: str) -> None:
    """Run every migration that is missing, as the owner of the database; does nothing when none is.

    Raises:
        UnavailableError: the server is away.
        MigrationError: the server refuses; nothing of the migration that failed is left.

    """
    engine = create_engine(owner_url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error) and error.orig.sqlstate is not None:
            raise MigrationError(
                f"PostgreSQL refused the migration ({error.orig.diag.message_primary}); "
                "docs/operate.md says which roles must exist, and whose URL this must be"
            ) from error
        cause = error.orig if isinstance(error.orig, psycopg.OperationalError) else None
        raise UnavailableError(no_connection(server_address(owner_url), cause)) from error
    finally:
        engine.dispose()
