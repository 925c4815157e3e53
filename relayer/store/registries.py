"""The registries that this platform confirms on, and their ticket sequences."""

from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

STANDARD_LANE = 0


@dataclass(frozen=True)
class RegistryRow:
    """One deployment of JobRegistry.

    Attributes:
        id: the number under which jobs and batches refer to it.
        chain_id: EIP-155 chain id.
        address: 20 bytes, the proxy's.
        first_block: no event of the registry lies in an earlier block.

    """

    id: int
    chain_id: int
    address: bytes
    first_block: int


async def find(conn: AsyncConnection[TupleRow], chain_id: int, address: bytes) -> RegistryRow | None:
    """Give the registry at an address, or None where it was never registered."""
    async with conn.cursor(row_factory=class_row(RegistryRow)) as cursor:
        await cursor.execute(
            "SELECT id, chain_id, address, first_block FROM registries WHERE chain_id = %s AND address = %s",
            [chain_id, address],
        )
        return await cursor.fetchone()


async def every(conn: AsyncConnection[TupleRow]) -> list[RegistryRow]:
    """Give all registries."""
    async with conn.cursor(row_factory=class_row(RegistryRow)) as cursor:
        await cursor.execute("SELECT id, chain_id, address, first_block FROM registries ORDER BY id")
        return await cursor.fetchall()


async def register(
    conn: AsyncConnection[TupleRow], chain_id: int, address: bytes, first_block: int
) -> RegistryRow:
    """Add a registry, as the owner of the database, and open the tickets of its standard lane and of those that kinds have."""
    await lock_lanes(conn)
    await conn.execute(
        """INSERT INTO registries (chain_id, address, first_block) VALUES (%s, %s, %s)
           ON CONFLICT (chain_id, address) DO NOTHING""",
        [chain_id, address, first_block],
    )
    row = await find(conn, chain_id, address)
    assert row is not None
    await conn.execute(
        """SELECT open_ticket_lane(%s::smallint, lane)
           FROM (SELECT %s::smallint AS lane UNION SELECT lane FROM kind_lanes) l""",
        [row.id, STANDARD_LANE],
    )
    return row


async def lock_lanes(conn: AsyncConnection[TupleRow]) -> None:
    """Let others who open lanes wait, so that every registry has the lanes of all kinds."""
    await conn.execute("LOCK TABLE kind_lanes IN SHARE ROW EXCLUSIVE MODE")
