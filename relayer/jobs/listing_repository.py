"""The SQL of lists of jobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from relayer.jobs.records import Job, job_row
from relayer.jobs.repository import JOBS
from relayer.model.ids import first_id
from relayer.model.lifecycle import JobState

MAX_PAIRS = 3

# An id is made within this time of the job's `created_at`, so that the index by id bounds a list by time.
_APART = timedelta(minutes=10)
_PAIRS: tuple[LiteralString, ...] = (
    "metadata_pair(%(name_0)s, %(value_0)s)",
    "metadata_pair(%(name_1)s, %(value_1)s)",
    "metadata_pair(%(name_2)s, %(value_2)s)",
)


@dataclass(frozen=True)
class JobFilter:
    """Which jobs of a tenant: those to which everything that is given applies.

    `created_after` is included, `created_before` is not. `metadata` has names and values that a job's metadata has
    exactly, `MAX_PAIRS` at most.
    """

    tenant_id: UUID
    state: JobState | None = None
    kind: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


async def jobs(
    conn: AsyncConnection[TupleRow], wanted: JobFilter, before: UUID | None, limit: int
) -> list[Job]:
    """Give a tenant's jobs, newest first, from below the id `before`."""
    query, values = listing(wanted, before, limit)
    async with conn.cursor(row_factory=job_row) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchall()


def listing(wanted: JobFilter, before: UUID | None, limit: int) -> tuple[LiteralString, dict[str, object]]:
    """Give the query of a list with only the filters that are given: no plan has to be good with and without them."""
    # The rows of job_metadata come in the order of the list.
    at: LiteralString = "m.job_id" if wanted.metadata else "j.id"
    values: dict[str, object] = {"tenant": wanted.tenant_id, "limit": limit}
    query: LiteralString = JOBS
    if wanted.metadata:
        query += (
            f"JOIN job_metadata m ON m.job_id = j.id AND m.tenant_id = %(tenant)s AND m.pair = {_PAIRS[0]} "
        )
    query += "WHERE j.tenant_id = %(tenant)s"
    given: dict[str, tuple[LiteralString, object | None]] = {
        "state": (" AND j.state = %(state)s", wanted.state and wanted.state.value),
        "kind": (" AND j.kind = %(kind)s", wanted.kind),
        "before": (f" AND {at} < %(before)s", before),
        "created_after": (" AND j.created_at >= %(created_after)s", wanted.created_after),
        "created_before": (" AND j.created_at < %(created_before)s", wanted.created_before),
        "from": (
            f" AND {at} >= %(from)s",
            None if wanted.created_after is None else first_id(wanted.created_after, -_APART),
        ),
        "to": (
            f" AND {at} < %(to)s",
            None if wanted.created_before is None else first_id(wanted.created_before, _APART),
        ),
        # A digest tells which rows to read; the metadata itself decides.
        "metadata": (" AND j.metadata @> %(metadata)s", Jsonb(wanted.metadata) if wanted.metadata else None),
    }
    for name, (condition, value) in given.items():
        if value is not None:
            query += condition
            values[name] = value
    for number, (name, value) in enumerate(wanted.metadata.items()):
        values |= {f"name_{number}": name, f"value_{number}": value}
        if number > 0:
            query += (
                " AND EXISTS (SELECT FROM job_metadata o WHERE o.tenant_id = %(tenant)s"
                f" AND o.pair = {_PAIRS[number]} AND o.job_id = m.job_id)"
            )
    return query + f" ORDER BY {at} DESC LIMIT %(limit)s", values
