"""The SQL of dispatching: the ring of tenants, what waits in their queues, and the attempts that come of it.

A queue is the waiting jobs of one tenant, kind and priority. A row of `active_queues` says that one may have a
job; a pass looks only at those, so that it costs the same however many jobs wait behind the first few. Whoever
writes several of these rows locks them in the order of their key.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from relayer.jobs.fair import Turn, Waiting
from relayer.jobs.handlers.base import Mode
from relayer.jobs.records import NewAttempt

_LIVE = """
SELECT a.mode, a.kind, a.state = 'dispatched' AS is_queued, count(*)
FROM attempts a WHERE a.state IN ('dispatched', 'running') GROUP BY 1, 2, 3
"""

# A tenant that has just become active comes first, once: it gets a place, at the ring's end, when it is served.
_RING = """
WITH due AS (
    SELECT q.tenant_id, k.mode, min(q.due_at) AS since
    FROM active_queues q JOIN unnest(%(kinds)s::text[], %(modes)s::text[]) AS k (kind, mode) ON k.kind = q.kind
    WHERE q.due_at <= %(at)s
    GROUP BY 1, 2
), live AS (
    SELECT tenant_id, count(*) AS attempts FROM attempts WHERE state IN ('dispatched', 'running') GROUP BY 1
)
SELECT mode, tenant_id, weight, deficit, allowance FROM (
    SELECT d.mode, t.id AS tenant_id, t.weight, coalesce(r.deficit, 0) AS deficit,
           t.running_cap - coalesce(l.attempts, 0) AS allowance,
           row_number() OVER (PARTITION BY d.mode ORDER BY r.position NULLS FIRST, d.since, t.id) AS place
    FROM due d
    JOIN tenants t ON t.id = d.tenant_id
    LEFT JOIN turns r ON r.mode = d.mode AND r.tenant_id = d.tenant_id
    LEFT JOIN live l ON l.tenant_id = t.id
    WHERE t.running_cap > coalesce(l.attempts, 0) AND t.suspended_at IS NULL
) p WHERE place <= %(limit)s
ORDER BY mode, place
"""

# A job with an attempt in the queue is still `created`; the window bounds how many such a look steps over.
_IS_DUE = """w.tenant_id = q.tenant_id AND w.kind = q.kind AND w.priority = q.priority
      AND w.state = 'created' AND w.run_at <= %(at)s AND w.cancel_requested_at IS NULL
      AND (w.expires_at IS NULL OR w.expires_at > %(at)s)
      AND NOT EXISTS (SELECT FROM attempts a WHERE a.job_id = w.id AND a.state IN ('dispatched', 'running'))"""

_IS_LOSS = "l.state = 'lost' AND l.number > w.forgiven_until"

_WAITING = f"""
SELECT q.tenant_id, q.kind, q.priority, q.due_at, q.looks, r.quota, j.id, j.run_at, j.is_suspect
FROM unnest(%(tenants)s::uuid[], %(quotas)s::int[]) AS r (tenant_id, quota)
JOIN active_queues q ON q.tenant_id = r.tenant_id AND q.due_at <= %(at)s AND q.kind = ANY(%(kinds)s)
LEFT JOIN LATERAL (
    SELECT w.id, w.run_at, EXISTS (SELECT FROM attempts l WHERE l.job_id = w.id AND {_IS_LOSS}) AS is_suspect
    FROM jobs w
    WHERE {_IS_DUE}
    ORDER BY w.run_at, w.id LIMIT r.quota
) j ON true
"""  # noqa: S608  # constants only

# Due again when the next scheduled job is; without one, after a pause, in case a submission that had seen the
# queue active commits late. Nothing is changed where a submission meanwhile has written the row, or its job is there.
_REST = f"""
WITH looked AS (
    SELECT * FROM unnest(%(tenants)s::uuid[], %(kinds)s::text[], %(priorities)s::smallint[], %(dues)s::timestamptz[],
                         %(looks)s::smallint[], %(found)s::bool[])
        AS n (tenant_id, kind, priority, due_at, looks, found)
), locked AS MATERIALIZED (
    SELECT n.* FROM active_queues q JOIN looked n USING (tenant_id, kind, priority)
    WHERE q.due_at = n.due_at AND q.looks = n.looks ORDER BY q.tenant_id, q.kind, q.priority FOR UPDATE OF q
)
UPDATE active_queues q SET looks = CASE WHEN n.found OR j.run_at IS NOT NULL THEN 0 ELSE q.looks + 1 END,
    due_at = coalesce(j.run_at, %(at)s + CASE WHEN n.found OR q.looks = 0 THEN %(short)s ELSE %(long)s END)
FROM locked n
LEFT JOIN LATERAL (
    SELECT w.run_at FROM jobs w
    WHERE w.tenant_id = n.tenant_id AND w.kind = n.kind AND w.priority = n.priority AND w.state = 'created'
      AND w.run_at > %(at)s
    ORDER BY w.run_at LIMIT 1
) j ON true
WHERE q.tenant_id = n.tenant_id AND q.kind = n.kind AND q.priority = n.priority AND q.due_at = n.due_at
  AND q.looks = n.looks
  AND NOT EXISTS (SELECT FROM jobs w WHERE {_IS_DUE})
"""  # noqa: S608  # constants only

# One statement, fenced by the lease: a lone job waits for every round trip. It does not wait for the disk either:
# attempts that a crash of the server takes back were pushed at most, and whoever opens one finds no row. Positions
# are drawn in the order in which the tenants are given.
_DEAL = """
WITH led AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true) FROM leases
    WHERE name = %(lease)s AND epoch = %(epoch)s FOR SHARE
), turned AS (
    INSERT INTO turns AS t (mode, tenant_id, deficit, position)
    SELECT n.mode, n.tenant_id, n.deficit,
           CASE WHEN n.moves OR NOT EXISTS (SELECT FROM turns o WHERE o.mode = n.mode AND o.tenant_id = n.tenant_id)
                THEN nextval('turn_positions') ELSE 0 END
    FROM unnest(%(turn_modes)s::text[], %(turn_tenants)s::uuid[], %(moves)s::bool[], %(deficits)s::int[])
         AS n (mode, tenant_id, moves, deficit)
    WHERE EXISTS (SELECT FROM led)
    ON CONFLICT (mode, tenant_id) DO UPDATE SET
        position = CASE excluded.position WHEN 0 THEN t.position ELSE excluded.position END, deficit = excluded.deficit
), dealt AS (
    INSERT INTO attempts (id, job_id, tenant_id, kind, priority, number, mode, state, queue_job_id, dispatched_at, pushed_at)
    SELECT n.id, n.job_id, n.tenant_id, n.kind, n.priority,
           1 + coalesce((SELECT max(a.number) FROM attempts a WHERE a.job_id = n.job_id), 0),
           n.mode, 'dispatched', n.queue_job_id, %(at)s, %(at)s
    FROM unnest(%(id)s::uuid[], %(job_id)s::uuid[], %(tenant_id)s::uuid[], %(kind)s::text[], %(priority)s::smallint[],
                %(mode)s::text[], %(queue_job_id)s::uuid[])
         AS n (id, job_id, tenant_id, kind, priority, mode, queue_job_id)
    WHERE EXISTS (SELECT FROM led)
)
SELECT count(*) FROM led
"""

_OVERDUE = f"""
SELECT a.id, a.mode, a.queue_job_id,
       EXISTS (SELECT FROM attempts l WHERE l.job_id = a.job_id AND {_IS_LOSS}) AS is_suspect
FROM attempts a JOIN jobs w ON w.id = a.job_id
WHERE a.state = 'dispatched' AND a.pushed_at < %s ORDER BY a.mode, a.priority, a.id
"""  # noqa: S608  # constants only

# Why the due jobs of a queue wait, written where it changed. A queue about to be served has no reason.
_NOTE_HOLDS = """
WITH live AS (
    SELECT tenant_id, kind, count(*) AS attempts FROM attempts WHERE state IN ('dispatched', 'running') GROUP BY 1, 2
), reason AS (
    SELECT q.tenant_id, q.kind, q.priority, CASE
        WHEN t.suspended_at IS NOT NULL THEN 'tenant_suspended'
        WHEN k.kind IS NULL THEN 'unknown_kind'
        WHEN NOT EXISTS (SELECT FROM workers w WHERE w.mode = k.mode AND w.expires_at > clock_timestamp())
            THEN 'no_worker'
        WHEN c.running_cap <= coalesce((SELECT sum(l.attempts) FROM live l WHERE l.kind = q.kind), 0)
            THEN 'kind_cap'
        WHEN t.running_cap <= coalesce((SELECT sum(l.attempts) FROM live l WHERE l.tenant_id = q.tenant_id), 0)
            THEN 'tenant_cap'
        END AS held_by
    FROM active_queues q
    JOIN tenants t ON t.id = q.tenant_id
    LEFT JOIN unnest(%(kinds)s::text[], %(modes)s::text[]) AS k (kind, mode) ON k.kind = q.kind
    LEFT JOIN kind_caps c ON c.kind = q.kind
), changed AS MATERIALIZED (
    SELECT r.* FROM active_queues q JOIN reason r USING (tenant_id, kind, priority)
    WHERE q.held_by IS DISTINCT FROM r.held_by ORDER BY q.tenant_id, q.kind, q.priority FOR UPDATE OF q
)
UPDATE active_queues q SET held_by = r.held_by
FROM changed r
WHERE q.tenant_id = r.tenant_id AND q.kind = r.kind AND q.priority = r.priority
"""

# A loose index scan: one probe a queue that has waiting jobs, however many jobs it has.
_FIND_QUEUES = """
WITH RECURSIVE queue AS (
    (SELECT tenant_id, kind, priority, run_at FROM jobs WHERE state = 'created'
     ORDER BY tenant_id, kind, priority, run_at LIMIT 1)
    UNION ALL
    SELECT j.tenant_id, j.kind, j.priority, j.run_at
    FROM queue q CROSS JOIN LATERAL (
        SELECT w.tenant_id, w.kind, w.priority, w.run_at FROM jobs w
        WHERE w.state = 'created' AND (w.tenant_id, w.kind, w.priority) > (q.tenant_id, q.kind, q.priority)
        ORDER BY w.tenant_id, w.kind, w.priority, w.run_at LIMIT 1
    ) j
)
INSERT INTO active_queues (tenant_id, kind, priority, due_at)
SELECT tenant_id, kind, priority, run_at FROM queue
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True)
class Live:
    """How many attempts are in the queue or running, by what."""

    queued: dict[Mode, int]
    running: dict[Mode, int]
    by_kind: dict[str, int]


@dataclass(frozen=True)
class Look:
    """What a look at one queue found: up to `quota` jobs; `due_at` and `looks` as the queue's row had them."""

    tenant_id: UUID
    kind: str
    priority: int
    due_at: datetime
    looks: int
    quota: int
    found: int


async def kind_caps(conn: AsyncConnection[TupleRow]) -> dict[str, int]:
    """Give the kinds whose attempts are capped over all tenants."""
    return dict(await (await conn.execute("SELECT kind, running_cap FROM kind_caps")).fetchall())


async def processes(conn: AsyncConnection[TupleRow], mode: Mode) -> int:
    """Count the worker processes of a mode."""
    cursor = await conn.execute(
        "SELECT coalesce(sum(processes), 0) FROM workers WHERE mode = %s AND expires_at > clock_timestamp()",
        [mode.value],
    )
    return int((await cursor.fetchall())[0][0])


async def survey(
    conn: AsyncConnection[TupleRow], modes: Mapping[str, Mode], at: datetime, limit: int
) -> tuple[dict[Mode, list[Turn]], Live]:
    """Look whose turn it is and what is under way, in one round trip.

    Slots are rows, so that nothing can leak one.

    Args:
        conn: a connection.
        modes: the kinds to be looked at, each with its mode.
        at: now.
        limit: how many tenants of a mode are wanted at most.

    Returns:
        By mode the tenants that have due jobs and are below their cap, in the order of their turns; and how many
        attempts are in the queue or running.

    """
    kinds = {"kinds": list(modes), "modes": [mode.value for mode in modes.values()], "at": at, "limit": limit}
    async with conn.pipeline():
        turns = await conn.execute(_RING, kinds)
        counts = await conn.execute(_LIVE)
    rings: dict[Mode, list[Turn]] = {}
    for mode, *turn in await turns.fetchall():
        rings.setdefault(Mode(mode), []).append(Turn(*turn))
    live = Live(dict.fromkeys(Mode, 0), dict.fromkeys(Mode, 0), {})
    for mode, kind, is_queued, count in await counts.fetchall():
        (live.queued if is_queued else live.running)[Mode(mode)] += count
        live.by_kind[kind] = live.by_kind.get(kind, 0) + count
    return rings, live


async def waiting(
    conn: AsyncConnection[TupleRow], quotas: Mapping[UUID, int], kinds: Collection[str], at: datetime
) -> tuple[list[Waiting], list[Look]]:
    """Look at the queues of tenants, up to `quotas[tenant]` jobs each."""
    cursor = await conn.execute(
        _WAITING,
        {"tenants": list(quotas), "quotas": list(quotas.values()), "kinds": list(kinds), "at": at},
    )
    jobs: list[Waiting] = []
    looks: dict[tuple[UUID, str, int], Look] = {}
    for tenant, kind, priority, due_at, looked, quota, job_id, run_at, is_suspect in await cursor.fetchall():
        if job_id is not None:
            jobs.append(Waiting(tenant, kind, priority, job_id, run_at, is_suspect))
        key = (tenant, kind, priority)
        seen = looks[key].found if key in looks else 0
        looks[key] = Look(tenant, kind, priority, due_at, looked, quota, seen + (job_id is not None))
    return jobs, list(looks.values())


async def rest_queues(
    conn: AsyncConnection[TupleRow], looks: Sequence[Look], at: datetime, *, short: timedelta, long: timedelta
) -> None:
    """Let queues that have no more due jobs rest until the next one is due, or for a pause; compare-and-set."""
    await conn.execute(
        _REST,
        {
            "at": at,
            "short": short,
            "long": long,
            "tenants": [one.tenant_id for one in looks],
            "kinds": [one.kind for one in looks],
            "priorities": [one.priority for one in looks],
            "dues": [one.due_at for one in looks],
            "looks": [one.looks for one in looks],
            "found": [one.found > 0 for one in looks],
        },
    )


@dataclass(frozen=True)
class NewTurn:
    """Where a tenant's turn stands after a deal; one that `moves` goes to the ring's end."""

    mode: Mode
    tenant_id: UUID
    moves: bool
    deficit: int


async def write_deal(
    conn: AsyncConnection[TupleRow],
    lease: str,
    epoch: int,
    *,
    turns: Sequence[NewTurn],
    attempts: Sequence[NewAttempt],
    at: datetime,
) -> bool:
    """Write down attempts that are about to be pushed, and the turns that they are, those that move in their order.

    Returns:
        False where another process leads; nothing was written.

    """
    cursor = await conn.execute(
        _DEAL,
        {
            "lease": lease,
            "epoch": epoch,
            "at": at,
            "turn_modes": [one.mode.value for one in turns],
            "turn_tenants": [one.tenant_id for one in turns],
            "moves": [one.moves for one in turns],
            "deficits": [one.deficit for one in turns],
            "id": [one.id for one in attempts],
            "job_id": [one.job_id for one in attempts],
            "tenant_id": [one.tenant_id for one in attempts],
            "kind": [one.kind for one in attempts],
            "priority": [one.priority for one in attempts],
            "mode": [one.mode.value for one in attempts],
            "queue_job_id": [one.queue_job_id for one in attempts],
        },
    )
    return bool((await cursor.fetchall())[0][0])


@dataclass(frozen=True)
class Overdue:
    """An attempt that was pushed a while ago and that no worker has opened."""

    id: UUID
    mode: Mode
    queue_job_id: UUID
    is_suspect: bool


async def overdue(conn: AsyncConnection[TupleRow], pushed_before: datetime) -> list[Overdue]:
    """Give attempts that were pushed before a time and not opened since."""
    async with conn.cursor(row_factory=class_row(Overdue)) as cursor:
        await cursor.execute(_OVERDUE, [pushed_before])
        return await cursor.fetchall()


async def readdress(
    conn: AsyncConnection[TupleRow], attempts: Sequence[tuple[UUID, UUID]], at: datetime
) -> None:
    """Write down that attempts, given as (attempt, queue job), are pushed again."""
    await conn.execute(
        """UPDATE attempts a SET queue_job_id = n.queue_job_id, pushed_at = %s
           FROM unnest(%s::uuid[], %s::uuid[]) AS n (id, queue_job_id)
           WHERE a.id = n.id AND a.state = 'dispatched'""",
        [at, [attempt for attempt, _ in attempts], [queue_job for _, queue_job in attempts]],
    )


async def note_holds(conn: AsyncConnection[TupleRow], modes: Mapping[str, Mode]) -> None:
    """Write down for each active queue why its due jobs wait, where there is a reason."""
    await conn.execute(_NOTE_HOLDS, {"kinds": list(modes), "modes": [mode.value for mode in modes.values()]})


async def forget_idle(conn: AsyncConnection[TupleRow], at: datetime) -> None:
    """Remove queues that were empty at look after look, and the turns of tenants without a queue.

    The last of these looks comes after a long rest, and one that is due is looked at first: who commits late is found.
    """
    await conn.execute(
        """DELETE FROM active_queues q USING (
               SELECT tenant_id, kind, priority FROM active_queues WHERE looks >= 3 AND due_at > %s
               ORDER BY tenant_id, kind, priority FOR UPDATE
           ) idle
           WHERE q.tenant_id = idle.tenant_id AND q.kind = idle.kind AND q.priority = idle.priority""",
        [at],
    )
    await conn.execute(
        "DELETE FROM turns t WHERE NOT EXISTS (SELECT FROM active_queues q WHERE q.tenant_id = t.tenant_id)"
    )


async def find_queues(conn: AsyncConnection[TupleRow]) -> int:
    """Make rows for queues that have jobs and no row; give how many there were, none if all is well."""
    return (await conn.execute(_FIND_QUEUES)).rowcount
