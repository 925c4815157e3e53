"""The ticket sequences after a restore."""

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

LANE_BITS = 56
"""A ticket's lane lies above these bits."""

MARGIN = 1 << 20
"""How far the sequences jump past the highest ticket that is known: a lost database may have handed out more."""


async def jump_past(conn: AsyncConnection[TupleRow], registry_id: int, lane: int, ticket: int) -> None:
    """Let every ticket of a lane that is drawn from now on be higher than `ticket` of that lane by `MARGIN`.

    In the role of administration or of the owner. Sequences that are further already stay; who draws waits for the commit.

    Raises:
        ValueError: the ticket is of another lane, or the lane has no tickets beyond it.
        psycopg.errors.UndefinedTable: the lane was never opened.

    """
    goal = ticket + MARGIN
    if ticket >> LANE_BITS != lane or goal >> LANE_BITS != lane:
        raise ValueError(f"no ticket of lane {lane} lies {MARGIN} beyond 0x{ticket:016x}")
    await set_past(conn, registry_id, goal)


async def set_past(conn: AsyncConnection[TupleRow], registry_id: int, ticket: int) -> None:
    """Let every later ticket of a ticket's lane be higher than it."""
    await conn.execute("SELECT jump_tickets_past(%s::smallint, %s)", [registry_id, ticket])
