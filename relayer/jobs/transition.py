"""The one function that moves jobs: compare-and-set, with the event, the usage and the news of it.

Everything happens in the caller's transaction, in one statement, so that a job never moves without its trace.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.model.lifecycle import JobState, may_move

# Moves jobs as a CTE `change` before it says, one row a job; its own CTE `moved` has those that moved.
# Rows are locked in the order of their ids, so that two sets never wait for each other.
MOVES = """
locked AS MATERIALIZED (
    SELECT j.id FROM jobs j JOIN change c ON c.job_id = j.id
    WHERE j.state_version = c.version AND j.state = c.source
    ORDER BY j.id FOR UPDATE OF j
), moved AS (
    UPDATE jobs j SET
        state = c.target,
        state_version = j.state_version + 1,
        status_reason = c.reason,
        error = c.error,
        output_hash = coalesce(c.output_hash, j.output_hash),
        output_size = coalesce(c.output_size, j.output_size),
        output_media_type = coalesce(c.output_media_type, j.output_media_type),
        result_ready_at = CASE WHEN c.output_hash IS NULL THEN j.result_ready_at ELSE %(at)s END,
        batch_id = CASE c.target WHEN 'confirming' THEN c.batch_id WHEN 'completed' THEN NULL ELSE j.batch_id END,
        confirmed_at = CASE c.target WHEN 'confirmed' THEN %(at)s END,
        finished_at = CASE WHEN c.target IN ('failed', 'cancelled', 'rejected') THEN %(at)s END,
        run_at = coalesce(c.run_at, j.run_at),
        expires_at = CASE WHEN c.target = 'created'
                          THEN least(c.run_at + j.queue_limit, j.created_at + j.total_limit)
                          ELSE j.expires_at END,
        forgiven_until = CASE c.source WHEN 'failed'
            THEN (SELECT coalesce(max(a.number), 0) FROM attempts a WHERE a.job_id = j.id)
            ELSE j.forgiven_until END,
        cancel_requested_at = CASE c.source WHEN 'failed' THEN NULL ELSE j.cancel_requested_at END
    FROM change c JOIN locked l ON l.id = c.job_id
    WHERE j.id = c.job_id AND j.state_version = c.version AND j.state = c.source
    RETURNING j.id, j.tenant_id, j.kind, j.priority, j.run_at, j.state, j.state_version,
              c.source, c.actor, c.reason, c.details
), queue AS (
    INSERT INTO active_queues AS q (tenant_id, kind, priority, due_at)
    SELECT tenant_id, kind, priority, min(run_at) FROM moved WHERE state = 'created' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (tenant_id, kind, priority) DO UPDATE SET due_at = least(q.due_at, excluded.due_at), looks = 0
), event AS (
    INSERT INTO job_events (job_id, seq, tenant_id, from_state, to_state, actor, reason, details, occurred_at)
    SELECT id, state_version, tenant_id, source, state, actor, reason, details, %(at)s FROM moved
), usage AS (
    INSERT INTO usage_events (tenant_id, source, id, meter, quantity, job_id, occurred_at)
    SELECT tenant_id, 'engine', id || ':job_completed', 'job_completed', 1, id, %(at)s
    FROM moved WHERE state = 'completed'
    ON CONFLICT (tenant_id, source, id) DO NOTHING
), news AS (
    INSERT INTO outbox (tenant_id, topic, job_id, payload, created_at)
    SELECT tenant_id, 'job.' || state, id,
           jsonb_build_object('id', id, 'kind', kind, 'state', state, 'state_version', state_version), %(at)s
    FROM moved
    WHERE state IN ('failed', 'rejected', 'cancelled', 'confirmed')
       OR (state = 'completed' AND source = 'processing')
)
"""

_MOVE = f"""
WITH change AS (
    SELECT * FROM unnest(
        %(job_id)s::uuid[], %(version)s::int[], %(source)s::text[], %(target)s::text[], %(actor)s::text[],
        %(reason)s::text[], %(details)s::jsonb[], %(output_hash)s::bytea[], %(output_size)s::bigint[],
        %(output_media_type)s::text[], %(error)s::jsonb[], %(batch_id)s::uuid[], %(run_at)s::timestamptz[]
    ) AS c (job_id, version, source, target, actor, reason, details, output_hash, output_size,
            output_media_type, error, batch_id, run_at)
), {MOVES}
SELECT id FROM moved
"""  # noqa: S608  # constants only


@dataclass(frozen=True)
class JobOutput:
    """What a job made: SHA-256 (32 bytes), size in bytes, media type, and `content` where a blob store keeps no file."""

    hash: bytes
    size: int
    media_type: str
    content: bytes | None = None


@dataclass(frozen=True)
class Change:
    """One job's step: from `source` at `version` to `target`, by whom and why.

    `output` comes with `completed` from `processing`, `batch_id` with `confirming`, `run_at` with `created`.
    """

    job_id: UUID
    version: int
    source: JobState
    target: JobState
    actor: str
    reason: str | None = None
    details: dict[str, Any] | None = None
    output: JobOutput | None = None
    error: dict[str, Any] | None = None
    batch_id: UUID | None = None
    run_at: datetime | None = None


async def transition(
    conn: AsyncConnection[TupleRow], changes: Sequence[Change], at: datetime
) -> frozenset[UUID]:
    """Move jobs, all in one statement of the caller's transaction.

    Returns:
        The ids of the jobs that moved; the others had moved on before, and nothing is written for them.

    Raises:
        ValueError: a step that the life of a job does not have, one that lacks what it must bring, or two
            steps of one job.

    """
    _require_sound(changes)
    if not changes:
        return frozenset()
    cursor = await conn.execute(_MOVE, _columns(changes, at))
    return frozenset({row[0] for row in await cursor.fetchall()})


def _require_sound(changes: Sequence[Change]) -> None:
    if len({change.job_id for change in changes}) != len(changes):
        raise ValueError("a job takes one step at a time")
    for change in changes:
        step = f"{change.source} -> {change.target}"
        if not may_move(change.source, change.target):
            raise ValueError(f"no job moves {step}")
        makes_output = (change.source, change.target) == (JobState.PROCESSING, JobState.COMPLETED)
        if makes_output != (change.output is not None):
            raise ValueError(f"{step}: an output belongs to processing -> completed, and only there")
        if (change.target is JobState.CONFIRMING) != (change.batch_id is not None):
            raise ValueError(f"{step}: a batch belongs to confirming, and only there")
        if change.run_at is not None and change.target is not JobState.CREATED:
            raise ValueError(f"{step}: only a waiting job has a time to run")
        if change.target is JobState.FAILED and change.error is None:
            raise ValueError(f"{step}: a failure says why")


def _columns(changes: Sequence[Change], at: datetime) -> dict[str, Any]:
    outputs = [change.output for change in changes]
    return {
        "at": at,
        "job_id": [change.job_id for change in changes],
        "version": [change.version for change in changes],
        "source": [change.source.value for change in changes],
        "target": [change.target.value for change in changes],
        "actor": [change.actor for change in changes],
        "reason": [change.reason for change in changes],
        "details": [_json(change.details) for change in changes],
        "output_hash": [output and output.hash for output in outputs],
        "output_size": [output and output.size for output in outputs],
        "output_media_type": [output and output.media_type for output in outputs],
        "error": [_json(change.error) for change in changes],
        "batch_id": [change.batch_id for change in changes],
        "run_at": [
            (change.run_at or at) if change.target is JobState.CREATED else None for change in changes
        ],
    }


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)
