"""All SQL of what registries were last seen to be, and of the batches that they hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.batches.reasons import HoldReason
from relayer.chain.registry_view import RegistryView


@dataclass(frozen=True)
class StateRow:
    """A row of `registry_states`; without a block nobody has looked yet."""

    paused: bool
    confirmer_role: bool
    implementation: bytes | None
    code_hash: bytes | None
    accepted_hash: bytes | None
    block_number: int | None
    block_hash: bytes | None
    frozen_reason: str | None


_FIND = """
SELECT paused, confirmer_role, implementation, code_hash, accepted_hash, block_number, block_hash, frozen_reason
FROM registry_states WHERE registry_id = %s
"""

_STORE = """
INSERT INTO registry_states AS s (registry_id, paused, confirmer_role, implementation, code_hash, accepted_hash,
                                  block_number, block_hash, observed_at)
VALUES (%(registry)s, %(paused)s, %(role)s, %(implementation)s, %(code)s, %(code)s, %(number)s, %(block)s, %(at)s)
ON CONFLICT (registry_id) DO UPDATE SET
    paused = excluded.paused, confirmer_role = excluded.confirmer_role, implementation = excluded.implementation,
    code_hash = excluded.code_hash, accepted_hash = coalesce(s.accepted_hash, excluded.accepted_hash),
    block_number = excluded.block_number, block_hash = excluded.block_hash, observed_at = excluded.observed_at
"""

_FREEZE = """
INSERT INTO registry_states AS s (registry_id, frozen_at, frozen_reason) VALUES (%s, now(), %s)
ON CONFLICT (registry_id) DO UPDATE SET
    frozen_at = coalesce(s.frozen_at, excluded.frozen_at),
    frozen_reason = coalesce(s.frozen_reason, excluded.frozen_reason)
"""

# What is held for another reason (funds, fees) keeps it.
_HOLD = """
UPDATE batches SET state = 'held', reason = %(reason)s, detail = NULL, retry_at = NULL
WHERE registry_id = %(registry)s
  AND (state = 'sealed' OR (state = 'held' AND reason = ANY(%(holds)s) AND reason <> %(reason)s))
"""

_LET_GO = """
UPDATE batches SET state = 'sealed', reason = NULL, detail = NULL, retry_at = NULL
WHERE registry_id = %s AND state = 'held' AND reason = ANY(%s)
"""


async def find(conn: AsyncConnection[TupleRow], registry_id: int) -> StateRow | None:
    """Give the row of a registry."""
    async with conn.cursor(row_factory=class_row(StateRow)) as cursor:
        await cursor.execute(_FIND, [registry_id])
        return await cursor.fetchone()


async def store(
    conn: AsyncConnection[TupleRow], registry_id: int, *, view: RegistryView, at: datetime
) -> None:
    """Keep what was seen; the code of the first is accepted."""
    await conn.execute(
        _STORE,
        {
            "registry": registry_id,
            "paused": view.paused,
            "role": view.confirmer_role,
            "implementation": view.implementation,
            "code": view.code_hash,
            "number": view.block_number,
            "block": view.block_hash,
            "at": at,
        },
    )


async def set_frozen(conn: AsyncConnection[TupleRow], registry_id: int, reason: str) -> None:
    """Note why and since when a registry is frozen, unless it is."""
    await conn.execute(_FREEZE, [registry_id, reason])


async def clear_frozen(conn: AsyncConnection[TupleRow], registry_id: int) -> bool:
    """Take a freeze back; False where there was none."""
    cursor = await conn.execute(
        "UPDATE registry_states SET frozen_at = NULL, frozen_reason = NULL "
        "WHERE registry_id = %s AND frozen_at IS NOT NULL",
        [registry_id],
    )
    return cursor.rowcount == 1


async def accept_code(conn: AsyncConnection[TupleRow], registry_id: int) -> bytes | None:
    """Accept the code that was last seen; give its hash."""
    cursor = await conn.execute(
        "UPDATE registry_states SET accepted_hash = code_hash "
        "WHERE registry_id = %s AND code_hash IS NOT NULL RETURNING code_hash",
        [registry_id],
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def hold_sealed(
    conn: AsyncConnection[TupleRow], registry_id: int, reason: HoldReason, holds: Sequence[HoldReason]
) -> None:
    """Hold the batches that wait for a nonce; those held for another of `holds` get the new reason."""
    await conn.execute(_HOLD, {"registry": registry_id, "reason": reason, "holds": list(holds)})


async def let_go(conn: AsyncConnection[TupleRow], registry_id: int, holds: Sequence[HoldReason]) -> None:
    """Let batches that are held for one of `holds` wait for a nonce again."""
    await conn.execute(_LET_GO, [registry_id, list(holds)])
