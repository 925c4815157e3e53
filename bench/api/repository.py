"""The SQL of the benchmark of the API."""

from typing import Any
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

_A_MINUTE = 10_000_000
_AT_ONCE = 100_000
# Far from the end, so that no submission has to ask how far.
_A_DAY = 2_000_000_000


def make_bare_table(conn: psycopg.Connection[Any]) -> None:
    """Make the one table of the bare application."""
    conn.execute(
        """CREATE TABLE IF NOT EXISTS bare_jobs (
               id uuid PRIMARY KEY, ticket bigint GENERATED ALWAYS AS IDENTITY, tenant_id uuid NOT NULL,
               kind text NOT NULL, state text NOT NULL DEFAULT 'created', input text NOT NULL,
               created_at timestamptz NOT NULL DEFAULT now())"""
    )


async def lift_limits(conn: AsyncConnection[TupleRow], tenant: UUID) -> None:
    """Let a tenant do as much as a benchmark can ask for."""
    await conn.execute(
        """UPDATE tenants SET submissions_per_minute = %(minute)s, submissions_burst = %(once)s,
                              reads_per_minute = %(minute)s, reads_burst = %(once)s, jobs_per_day = %(day)s,
                              waiting_cap = %(day)s
           WHERE id = %(tenant)s""",
        {"minute": _A_MINUTE, "once": _AT_ONCE, "day": _A_DAY, "tenant": tenant},
    )


async def cancelled_jobs(conn: AsyncConnection[TupleRow], tenant: UUID, count: int) -> list[UUID]:
    """Let some of a tenant's jobs be cancelled, which is an end; give their ids."""
    cursor = await conn.execute(
        """UPDATE jobs SET state = 'cancelled', finished_at = now(), state_version = 2 WHERE id IN
           (SELECT id FROM jobs WHERE tenant_id = %s AND state = 'created' LIMIT %s) RETURNING id""",
        [tenant, count],
    )
    return [row[0] for row in await cursor.fetchall()]


async def some_jobs(conn: AsyncConnection[TupleRow], tenant: UUID, count: int) -> list[UUID]:
    """Give ids of a tenant's jobs, in whatever state they are."""
    cursor = await conn.execute("SELECT id FROM jobs WHERE tenant_id = %s LIMIT %s", [tenant, count])
    return [row[0] for row in await cursor.fetchall()]


async def bare_jobs(conn: AsyncConnection[TupleRow], count: int) -> list[UUID]:
    """Give ids of jobs of the bare application."""
    cursor = await conn.execute("SELECT id FROM bare_jobs LIMIT %s", [count])
    return [row[0] for row in await cursor.fetchall()]
