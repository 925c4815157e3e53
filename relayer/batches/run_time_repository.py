"""How long jobs of each kind run, learnt from those that are sealed; the tickets of new jobs are drawn by it."""

from collections.abc import Sequence
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

SAMPLE = 2_000
"""Of how many jobs of a batch, at most, the run times are looked at."""
MEMORY = 1_000
"""What was seen before counts as this many jobs at most, so that a change of a kind shows soon."""

_OBSERVE = """
INSERT INTO run_times AS r (kind, seconds, jobs)
SELECT a.kind, percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM a.finished_at - a.started_at)), count(*)
FROM attempts a
WHERE a.job_id = ANY(%(jobs)s) AND a.state = 'succeeded' AND a.finished_at >= a.started_at
GROUP BY a.kind ORDER BY a.kind
ON CONFLICT (kind) DO UPDATE SET
    seconds = r.seconds + (excluded.seconds - r.seconds) * excluded.jobs / (excluded.jobs + least(r.jobs, %(memory)s)),
    jobs = r.jobs + excluded.jobs
"""


async def observe(conn: AsyncConnection[TupleRow], jobs: Sequence[UUID]) -> None:
    """Learn from finished jobs, or from a part of them if they are many."""
    await conn.execute(_OBSERVE, {"jobs": jobs[:: -(-len(jobs) // SAMPLE)], "memory": MEMORY})
