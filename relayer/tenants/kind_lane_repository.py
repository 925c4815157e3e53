"""All SQL of the lanes of kinds."""

from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.store import registries
from relayer.store.registries import STANDARD_LANE

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class KindLane:
    """The lane in which the jobs of a kind are confirmed."""

    kind: str
    lane: int

    def to_document(self) -> dict[str, str | int]:
        """The lane as JSON has it."""
        return {"kind": self.kind, "lane": self.lane}


async def kind_lanes(conn: Connection) -> list[KindLane]:
    """Every kind that has another than the standard lane, by name."""
    async with conn.cursor(row_factory=class_row(KindLane)) as cursor:
        await cursor.execute("SELECT kind, lane FROM kind_lanes ORDER BY kind")
        return await cursor.fetchall()


async def lock(conn: Connection, kind: str) -> KindLane | None:
    """A kind's lane; lets others who would change any wait, and whoever registers a registry."""
    await registries.lock_lanes(conn)
    cursor = await conn.execute("SELECT lane FROM kind_lanes WHERE kind = %s", [kind])
    row = await cursor.fetchone()
    return None if row is None else KindLane(kind, row[0])


async def write(conn: Connection, wanted: KindLane) -> None:
    """Give a kind a lane, and open the lane's tickets of every registry."""
    if wanted.lane == STANDARD_LANE:
        await conn.execute("DELETE FROM kind_lanes WHERE kind = %s", [wanted.kind])
        return
    await conn.execute(
        """INSERT INTO kind_lanes (kind, lane) VALUES (%s, %s)
           ON CONFLICT (kind) DO UPDATE SET lane = excluded.lane""",
        [wanted.kind, wanted.lane],
    )
    await conn.execute("SELECT open_ticket_lane(id, %s::smallint) FROM registries", [wanted.lane])
