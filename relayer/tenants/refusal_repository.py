"""The SQL of keys that were shown after their end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key that was shown; `reason` is what ended it, None where it is live."""

    digest: bytes
    key_id: UUID
    tenant_id: UUID
    name: str
    reason: str | None


async def shown_keys(
    conn: AsyncConnection[TupleRow], digests: Sequence[bytes], ids: Sequence[UUID], at: datetime
) -> list[ShownKey]:
    """The keys of any tenant with these digests or ids; by a function of the owner."""
    async with conn.cursor(row_factory=class_row(ShownKey)) as cursor:
        await cursor.execute(
            "SELECT digest, key_id, tenant_id, name, reason FROM refused_api_keys(%s, %s, %s)",
            [list(digests), list(ids), at],
        )
        return await cursor.fetchall()
