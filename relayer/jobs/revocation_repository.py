"""All SQL of revocations on chain: an attribute of confirmed jobs, never a state."""

from collections.abc import Sequence
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

# Rows are locked in the order of their ids, as every move of jobs does. The news of it for the answers that API
# processes keep is a trigger's.
_MARK = """
WITH locked AS MATERIALIZED (
    SELECT id FROM jobs WHERE registry_id = %(registry)s AND ticket = ANY(%(tickets)s)
      AND state = 'confirmed' AND revoked_at IS NULL
    ORDER BY id FOR UPDATE
), revoked AS (
    UPDATE jobs j SET revoked_at = %(at)s FROM locked l WHERE j.id = l.id
    RETURNING j.id, j.tenant_id, j.kind, j.state, j.state_version
), news AS (
    INSERT INTO outbox (tenant_id, topic, job_id, payload, created_at)
    SELECT tenant_id, 'job.revoked', id,
           jsonb_build_object('id', id, 'kind', kind, 'state', state, 'state_version', state_version), %(now)s
    FROM revoked
)
SELECT count(*) FROM revoked
"""


async def mark_revoked(
    conn: AsyncConnection[TupleRow], registry_id: int, tickets: Sequence[int], at: datetime, now: datetime
) -> int:
    """Note since when confirmed jobs are revoked, and tell of it; give how many were not before.

    `at` is the time of the block that revoked them, `now` that of the news. Tickets of others are nothing of ours.
    """
    cursor = await conn.execute(
        _MARK, {"registry": registry_id, "tickets": list(tickets), "at": at, "now": now}
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
