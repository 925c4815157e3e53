"""All SQL of the measurement of delays."""

from relayer.store.database import Database


async def events_of(db: Database, height: int) -> int:
    """Count the canonical events of a block that are in the database."""
    async with db.transaction() as conn:
        cursor = await conn.execute(
            "SELECT count(*) FROM event_logs WHERE block_number = %s AND canonical", [height]
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
