"""Jobs as JSON: what a client asks for, and what it gets."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel

from api.fields import Kind
from api.pagination import PageQuery
from relayer.jobs.records import Attempt, Job, JobEvent
from relayer.model.ids import to_public
from relayer.model.lifecycle import JobState
from relayer.seal.commitment import ticket_hex

ID_PREFIX = "job"


class ListQuery(PageQuery):
    """Which jobs to list."""

    state: JobState | None = None
    kind: Kind | None = None


class OutputBody(BaseModel):
    """What GET /v1/jobs/{id}/output gives."""

    size: int
    media_type: str


class InclusionBody(BaseModel):
    """The transaction that carries the job's batch: a hint until the job is confirmed."""

    transaction_hash: str
    block_number: int


class RetryBody(BaseModel):
    """When a failed attempt is tried again; `codes` is null where every retryable error is."""

    max_attempts: int
    first_backoff_seconds: float
    longest_backoff_seconds: float
    codes: list[str] | None


class LimitsBody(BaseModel):
    """How long the job may wait for its turn, how long an attempt may run, and all of it; null is no limit."""

    queue_seconds: float | None
    run_seconds: float
    total_seconds: float | None


class JobBody(BaseModel):
    """A job; a field is null until what it tells has come to be. Hashes are 0x-hex, times RFC 3339 in UTC."""

    id: str
    ticket: str
    kind: str
    priority: Literal["high", "normal"]
    state: JobState
    status_reason: str | None
    state_version: int
    input_hash: str
    metadata: dict[str, str]
    rerun_of: str | None
    created_at: datetime
    run_at: datetime
    attempt: int
    max_attempts: int
    progress: dict[str, Any] | None
    cancel_requested_at: datetime | None
    result_ready_at: datetime | None
    confirmed_at: datetime | None
    finished_at: datetime | None
    output_hash: str | None
    output: OutputBody | None
    batch_root: str | None
    inclusion: InclusionBody | None
    error: dict[str, Any] | None
    retry: RetryBody
    limits: LimitsBody


class JobPage(BaseModel):
    """A page of jobs; the last page is the one without `next_page_token`."""

    data: list[JobBody]
    next_page_token: str | None = None


class EventBody(BaseModel):
    """A step of a job; `seq` is its `state_version` from then on, `from_state` is null for the first."""

    seq: int
    from_state: JobState | None
    to_state: JobState
    actor: str
    reason: str | None
    details: dict[str, Any] | None
    occurred_at: datetime


class EventPage(BaseModel):
    """A page of a job's steps, oldest first."""

    data: list[EventBody]
    next_page_token: str | None = None


class AttemptBody(BaseModel):
    """One try at a job; `log_tail` is the end of what the handler printed, 4 KiB at most."""

    number: int
    state: Literal["dispatched", "running", "succeeded", "failed", "lost", "returned", "cancelled"]
    mode: Literal["inline", "isolated"]
    dispatched_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: dict[str, Any] | None
    error: dict[str, Any] | None
    log_tail: str | None


class AttemptPage(BaseModel):
    """A page of a job's attempts, in order."""

    data: list[AttemptBody]
    next_page_token: str | None = None


def job_body(job: Job) -> dict[str, Any]:
    """Write a job as `JobBody` describes it."""
    output = None
    if job.output_hash is not None:
        output = {"size": job.output_size, "media_type": job.output_media_type}
    inclusion = None
    if job.transaction_hash is not None:
        inclusion = {"transaction_hash": _hex(job.transaction_hash), "block_number": job.block_number}
    return {
        "id": to_public(ID_PREFIX, job.id),
        "ticket": ticket_hex(job.ticket),
        "kind": job.kind,
        "priority": job.priority.name.lower(),
        "state": job.state.value,
        "status_reason": job.status_reason,
        "state_version": job.state_version,
        "input_hash": _hex(job.input_hash),
        "metadata": job.metadata,
        "rerun_of": None if job.rerun_of is None else to_public(ID_PREFIX, job.rerun_of),
        "created_at": in_utc(job.created_at),
        "run_at": in_utc(job.run_at),
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "progress": job.progress,
        "cancel_requested_at": in_utc(job.cancel_requested_at),
        "result_ready_at": in_utc(job.result_ready_at),
        "confirmed_at": in_utc(job.confirmed_at),
        "finished_at": in_utc(job.finished_at),
        "output_hash": _hex(job.output_hash),
        "output": output,
        "batch_root": _hex(job.batch_root),
        "inclusion": inclusion,
        "error": job.error,
        "retry": {
            "max_attempts": job.max_attempts,
            "first_backoff_seconds": _seconds(job.first_backoff),
            "longest_backoff_seconds": _seconds(job.longest_backoff),
            "codes": job.retry_codes,
        },
        "limits": {
            "queue_seconds": _seconds(job.queue_limit),
            "run_seconds": _seconds(job.run_limit),
            "total_seconds": _seconds(job.total_limit),
        },
    }


def event_body(event: JobEvent) -> dict[str, Any]:
    """Write a step as `EventBody` describes it."""
    return vars(event) | {"occurred_at": in_utc(event.occurred_at)}


def attempt_body(attempt: Attempt) -> dict[str, Any]:
    """Write an attempt as `AttemptBody` describes it."""
    return {
        "number": attempt.number,
        "state": attempt.state,
        "mode": attempt.mode,
        "dispatched_at": in_utc(attempt.dispatched_at),
        "started_at": in_utc(attempt.started_at),
        "finished_at": in_utc(attempt.finished_at),
        "progress": attempt.progress,
        "error": attempt.error,
        "log_tail": attempt.log_tail,
    }


def in_utc(value: datetime | None) -> datetime | None:
    """Turn what the database gives in its own time zone into UTC."""
    return None if value is None else value.astimezone(UTC)


def _hex(value: bytes | None) -> str | None:
    return None if value is None else f"0x{value.hex()}"


def _seconds(value: timedelta | None) -> float | None:
    """Write whole seconds without a fraction."""
    if value is None:
        return None
    seconds = value.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds
