"""The SQL of the benchmark: whether Jobseal kept every state of every job, and what the server says of itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from bench.engine.marks import CountError

_TALLY = """
WITH usage AS (
    SELECT job_id, count(*) AS events FROM usage_events WHERE meter = 'job_completed' AND tenant_id = ANY(%(tenants)s) GROUP BY job_id
), traces AS (
    SELECT job_id, array_agg(to_state) AS states FROM job_events WHERE tenant_id = ANY(%(tenants)s) GROUP BY job_id
)
SELECT count(*) AS jobs,
       count(*) FILTER (WHERE j.state = 'completed' AND j.output_hash IS NOT NULL) AS completed,
       count(*) FILTER (WHERE t.states @> ARRAY['created', 'processing', 'completed']) AS traced,
       count(*) FILTER (WHERE u.events = 1) AS billed_once,
       coalesce(sum(u.events), 0)::int AS usage_events
FROM jobs j LEFT JOIN usage u ON u.job_id = j.id LEFT JOIN traces t ON t.job_id = j.id
WHERE j.tenant_id = ANY(%(tenants)s)
"""


@dataclass(frozen=True)
class Tally:
    """What PostgreSQL holds of some tenants' jobs; when all went well the five figures are equal."""

    jobs: int
    completed: int
    traced: int
    billed_once: int
    usage_events: int

    def require(self, total: int) -> None:
        """Raise `CountError` unless every figure is `total`."""
        if set(vars(self).values()) != {total}:
            raise CountError(f"{total} jobs ran, but PostgreSQL holds {self}")


async def tally(conn: AsyncConnection[TupleRow], tenants: Sequence[UUID]) -> Tally:
    """Count the jobs of tenants, as the owner of the tables."""
    async with conn.cursor(row_factory=class_row(Tally)) as cursor:
        await cursor.execute(_TALLY, {"tenants": list(tenants)})
        row = await cursor.fetchone()
    assert row is not None
    return row


async def raise_caps(conn: AsyncConnection[TupleRow], tenants: Sequence[UUID], running_cap: int) -> None:
    """Let tenants have that many jobs dispatched at a time."""
    await conn.execute("UPDATE tenants SET running_cap = %s WHERE id = ANY(%s)", [running_cap, list(tenants)])


async def any_open(conn: AsyncConnection[TupleRow], tenants: Sequence[UUID]) -> bool:
    """Whether a job of the tenants still waits or runs."""
    cursor = await conn.execute(
        "SELECT EXISTS (SELECT FROM jobs WHERE tenant_id = ANY(%s) AND state IN ('created', 'processing'))",
        [list(tenants)],
    )
    return await cursor.fetchone() == (True,)


async def durability(conn: AsyncConnection[TupleRow]) -> dict[str, str]:
    """Give the server's version and the settings that make a commit durable."""
    cursor = await conn.execute(
        """SELECT name, setting FROM pg_settings
           WHERE name IN ('server_version', 'fsync', 'synchronous_commit', 'full_page_writes')"""
    )
    return dict(await cursor.fetchall())


async def checkpoint(conn: AsyncConnection[TupleRow]) -> None:
    """Write out what is dirty, as the superuser and outside of a transaction."""
    await conn.execute("CHECKPOINT")
