"""Brings a database to the newest schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from relayer.model.errors import UnavailableError
from relayer.store.database import server_address


def migrate(owner_url: str) -> None:
    """Run every migration that is missing, as the owner of the database; does nothing when none is.

    Raises:
        UnavailableError: the server is away.

    """
    engine = create_engine(owner_url.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except OperationalError as error:
        raise UnavailableError(f"PostgreSQL at {server_address(owner_url)} does not answer") from error
