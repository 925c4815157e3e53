"""The SQL of recorded mixes."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.batches.mix import MixJob
from relayer.model.ids import first_id

# An id is made within this time of the job's `created_at`, so that the index by id finds jobs by time.
_APART = timedelta(minutes=10)
_CHUNK = 2_000

# A retry moves `run_at`; no job began before it was to begin at first.
_MIX = """
SELECT extract(epoch FROM j.created_at - min(j.created_at) OVER ())::float8 AS at, j.kind,
       extract(epoch FROM least(j.run_at, a.first_at) - j.created_at)::float8 AS delay,
       extract(epoch FROM coalesce(j.result_ready_at, j.finished_at) - j.created_at)::float8 AS ended,
       extract(epoch FROM CASE WHEN j.result_ready_at IS NOT NULL THEN a.ran END)::float8 AS ran
FROM jobs j LEFT JOIN LATERAL (
    SELECT min(dispatched_at) AS first_at, max(finished_at - started_at) FILTER (WHERE state = 'succeeded') AS ran
    FROM attempts WHERE job_id = j.id
) a ON true
WHERE j.registry_id = %(registry)s AND j.created_at >= %(since)s AND j.created_at < %(until)s
  AND j.id >= %(first)s AND j.id < %(last)s
ORDER BY j.created_at, j.id
"""


async def mix(
    conn: AsyncConnection[TupleRow], registry_id: int, since: datetime, until: datetime
) -> AsyncIterator[MixJob]:
    """Give the jobs that were submitted within a time, in the order of their submission."""
    async with conn.cursor("mix", row_factory=class_row(MixJob)) as cursor:
        cursor.itersize = _CHUNK
        await cursor.execute(
            _MIX,
            {
                "registry": registry_id,
                "since": since,
                "until": until,
                "first": first_id(since, -_APART),
                "last": first_id(until, _APART),
            },
        )
        async for job in cursor:
            yield job
