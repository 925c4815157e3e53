"""Nonce slots are found by their batch, the settled ones too."""

from importlib.resources import files

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    sql = files("relayer.store.migrations.versions").joinpath("0020_slots_of_batches.sql").read_text("utf-8")
    # The driver's own cursor: SQLAlchemy would read the colons of a cast as parameters.
    op.get_bind().connection.cursor().execute(sql)
