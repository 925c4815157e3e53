"""The SQL of watching jobs."""

from collections.abc import Collection, Mapping
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.store.database import act_for


async def versions(
    conn: AsyncConnection[TupleRow], watched: Mapping[UUID, Collection[UUID]]
) -> dict[UUID, int]:
    """Give the state versions of jobs, given by tenant, in one round trip; none for a job that is not the tenant's.

    The connection is in a pipelined transaction.
    """
    cursors = []
    for tenant, jobs in watched.items():
        await act_for(conn, tenant)
        cursors.append(
            await conn.execute(
                "SELECT id, state_version FROM jobs WHERE id = ANY(%s) AND tenant_id = %s",
                [list(jobs), tenant],
            )
        )
    return {job_id: version for cursor in cursors for job_id, version in await cursor.fetchall()}
