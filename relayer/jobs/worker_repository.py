"""The SQL of worker pools; a pool's parent is synchronous. Expiry is by the clock of the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from relayer.jobs.handlers.base import Mode


@dataclass(frozen=True)
class Pool:
    """A pool of workers: how many processes of each mode run, of those modes of which any does."""

    id: UUID
    name: str
    processes: Mapping[Mode, int]


def announce(conn: Connection[TupleRow], pool: Pool, lifetime: timedelta, at: datetime) -> None:
    """Say what lives of a pool, and forget what is gone."""
    modes = [mode.value for mode in pool.processes]
    conn.execute(
        "DELETE FROM workers WHERE expires_at < clock_timestamp() OR (id = %s AND mode <> ALL(%s))",
        [pool.id, modes],
    )
    conn.execute(
        """INSERT INTO workers AS w (id, mode, name, processes, started_at, expires_at)
           SELECT %(id)s, p.mode, %(name)s, p.processes, %(at)s, clock_timestamp() + %(lifetime)s
           FROM unnest(%(modes)s::text[], %(processes)s::smallint[]) AS p (mode, processes)
           ON CONFLICT (id, mode) DO UPDATE SET
               processes = excluded.processes, expires_at = excluded.expires_at""",
        {
            "id": pool.id,
            "name": pool.name,
            "at": at,
            "lifetime": lifetime,
            "modes": modes,
            "processes": list(pool.processes.values()),
        },
    )


def look(conn: Connection[TupleRow]) -> None:
    """Fail where pools cannot be announced: the schema is another one."""
    conn.execute("SELECT FROM workers LIMIT 0")


def remove(conn: Connection[TupleRow], pool: UUID) -> None:
    """Say that a pool takes no more work."""
    conn.execute("DELETE FROM workers WHERE id = %s", [pool])
