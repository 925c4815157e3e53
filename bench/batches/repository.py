"""The SQL of the benchmark of sealing."""

from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

_FILL_JOBS = """
INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, state_version, input, input_hash, metadata, salt,
                  max_attempts, run_at, output_hash, output_size, output_media_type, created_at, result_ready_at)
SELECT gen_random_uuid(), %(tenant)s, %(registry)s, next_ticket(%(registry)s::smallint, 0::smallint), 'digest', 'completed', 3,
       '{}', sha256(n::text::bytea), '{}', sha256(random()::text::bytea), 1, now(), sha256(n::text::bytea), 100,
       'application/json', now() - interval '10 seconds', now()
FROM generate_series(1, %(jobs)s) n
"""
_FILL_ATTEMPTS = """
INSERT INTO attempts (id, job_id, tenant_id, kind, priority, number, mode, state, dispatched_at, pushed_at, started_at,
                      finished_at)
SELECT gen_random_uuid(), id, tenant_id, kind, priority, 1, 'inline', 'succeeded', created_at, created_at, created_at,
       result_ready_at
FROM jobs WHERE state = 'completed'
"""


async def add_tenant(conn: AsyncConnection[TupleRow], tenant: UUID) -> None:
    """Make the tenant whose jobs are sealed."""
    await conn.execute("INSERT INTO tenants (id, name, created_at) VALUES (%s, 'bench', now())", [tenant])


async def fill(conn: AsyncConnection[TupleRow], tenant: UUID, registry_id: int, jobs: int) -> None:
    """Make finished jobs as the engine leaves them, in neighbouring tickets."""
    await conn.execute(_FILL_JOBS, {"tenant": tenant, "registry": registry_id, "jobs": jobs})
    await conn.execute(_FILL_ATTEMPTS)


async def analyze(conn: AsyncConnection[TupleRow]) -> None:
    """Let the planner know what is there, as autovacuum would."""
    await conn.execute("ANALYZE jobs")
    await conn.execute("ANALYZE attempts")
