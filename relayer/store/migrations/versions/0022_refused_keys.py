"""Whose keys were shown after their end; where a waiting job stands; old counters of quotas are deleted."""

from importlib.resources import files

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    sql = files("relayer.store.migrations.versions").joinpath("0022_refused_keys.sql").read_text("utf-8")
    # The driver's own cursor: SQLAlchemy would read the colons of a cast as parameters.
    op.get_bind().connection.cursor().execute(sql)
