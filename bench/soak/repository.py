"""The SQL of the soak: what the books say of its jobs."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

# Each names one flaw that a job may have; none may be found.
FLAWS = {
    "has not come to an end": "SELECT id FROM jobs WHERE state IN ('created', 'processing')",
    "failed": "SELECT id FROM jobs WHERE state IN ('failed', 'rejected')",
    "is cancelled although nobody asked": (
        "SELECT id FROM jobs WHERE state = 'cancelled' AND cancel_requested_at IS NULL"
    ),
    "has a live attempt": "SELECT job_id FROM attempts WHERE state IN ('dispatched', 'running')",
    "succeeded more than once": (
        "SELECT job_id FROM attempts WHERE state = 'succeeded' GROUP BY job_id HAVING count(*) > 1"
    ),
    "has usage other than once if completed, else none": """
        SELECT j.id FROM jobs j LEFT JOIN usage_events u ON u.job_id = j.id AND u.meter = 'job_completed'
        GROUP BY j.id, j.state HAVING count(u.id) <> (j.state IN ('completed', 'confirming', 'confirmed'))::int
    """,
    "shares its ticket": """
        SELECT unnest(array_agg(id)) FROM jobs GROUP BY registry_id, ticket HAVING count(*) > 1
    """,
    "has a history with a gap or another end": """
        SELECT j.id FROM jobs j LEFT JOIN job_events e ON e.job_id = j.id
        GROUP BY j.id, j.state, j.state_version
        HAVING count(e.seq) <> j.state_version OR max(e.seq) <> j.state_version
            OR (array_agg(e.to_state ORDER BY e.seq DESC))[1] IS DISTINCT FROM j.state
    """,
    "has a step in its history that does not join": """
        SELECT job_id FROM (
            SELECT job_id, from_state, lag(to_state) OVER (PARTITION BY job_id ORDER BY seq) AS before FROM job_events
        ) e WHERE from_state IS DISTINCT FROM before
    """,
    "has an output that nobody owns": """
        SELECT j.id FROM jobs j LEFT JOIN blob_owners o ON o.tenant_id = j.tenant_id AND o.hash = j.output_hash
        WHERE j.output_hash IS NOT NULL AND o.hash IS NULL
    """,
}


async def flawed(conn: AsyncConnection[TupleRow], query: str) -> list[UUID]:
    """Give the jobs that a query of `FLAWS` finds."""
    return [row[0] for row in await (await conn.execute(query.encode())).fetchall()]


async def unknown(conn: AsyncConnection[TupleRow], jobs: Collection[UUID]) -> set[UUID]:
    """Give those of the jobs that there is no row of."""
    cursor = await conn.execute("SELECT id FROM jobs WHERE id = ANY(%s)", [list(jobs)])
    return set(jobs) - {row[0] for row in await cursor.fetchall()}


async def count_open(conn: AsyncConnection[TupleRow]) -> int:
    """Count the jobs that wait or run."""
    cursor = await conn.execute("SELECT count(*) FROM jobs WHERE state IN ('created', 'processing')")
    return int((await cursor.fetchall())[0][0])


async def counts(conn: AsyncConnection[TupleRow]) -> dict[str, int]:
    """Count jobs by state and attempts by how they ended."""
    cursor = await conn.execute(
        """SELECT 'jobs ' || state, count(*) FROM jobs GROUP BY 1
           UNION ALL SELECT 'attempts ' || state, count(*) FROM attempts GROUP BY 1 ORDER BY 1"""
    )
    return dict(await cursor.fetchall())


async def whole_at(conn: AsyncConnection[TupleRow], broken_at: datetime) -> datetime | None:
    """Give when all was well after something broke: every job from before had ended, and one from afterwards too.

    None while that is not so.
    """
    cursor = await conn.execute(
        """SELECT CASE WHEN coalesce(bool_and(ended IS NOT NULL) FILTER (WHERE created_at <= %(at)s), true)
                  THEN greatest(%(at)s, max(ended) FILTER (WHERE created_at <= %(at)s),
                                min(ended) FILTER (WHERE created_at > %(at)s))
                  END
           FROM (SELECT created_at, coalesce(result_ready_at, finished_at) AS ended FROM jobs) j
           HAVING count(ended) FILTER (WHERE created_at > %(at)s) > 0""",
        {"at": broken_at},
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]
