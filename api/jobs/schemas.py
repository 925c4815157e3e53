"""Jobs as JSON: what a client asks for, and what it gets."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from api.jobs.examples import ATTEMPT, EVENT, JOB, VALIDATED
from api.pagination import NextPageToken
from relayer.jobs.records import Attempt, Job, JobEvent
from relayer.jobs.submission_repository import NewJob
from relayer.model.ids import to_public
from relayer.model.lifecycle import JobState
from relayer.seal.commitment import ticket_hex

ID_PREFIX = "job"


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


class JobUsageBody(BaseModel):
    """What was metered of the job, by the names of the meters."""

    compute_seconds: float


class JobBody(BaseModel):
    """A job; a field is null until what it tells has come to be. Hashes are 0x-hex, times RFC 3339 in UTC."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra={"examples": [JOB]})

    id: str
    """`job_` and a UUIDv7."""
    ticket: str
    """Its identity on chain: `0x` and 16 hex digits."""
    kind: str
    """Which handler runs it."""
    priority: Literal["high", "normal"]
    """Which of the tenant's waiting jobs go first."""
    state: JobState
    """Where it stands."""
    status_reason: str | None
    """Why it stands there."""
    state_version: int
    """Rises with every change of state."""
    queue_position_hint: int | None
    """Its place among the waiting jobs of its kind and priority, 1 for the next; 100 is 100 or more.

    Null where the job was not read by itself."""
    input_hash: str
    """SHA-256 of the canonical JSON (RFC 8785) of `{"input": …, "kind": …}`."""
    metadata: dict[str, str]
    """The client's own notes."""
    rerun_of: str | None
    """The job that this one repeats."""
    created_at: datetime
    """When it was submitted."""
    run_at: datetime
    """From when on it may run, or be tried again."""
    attempt: int
    """The number of its last attempt, 0 before the first."""
    max_attempts: int
    """How many attempts may fail."""
    progress: dict[str, Any] | None
    """What its last attempt told of itself, an object of the kind's own."""
    cancel_requested_at: datetime | None
    """Since when it is to be cancelled."""
    started_at: datetime | None
    """When its last attempt began to run."""
    result_ready_at: datetime | None
    """Since when its output can be read, from `completed` on."""
    confirmed_at: datetime | None
    """Since when the block of its batch is known to be final."""
    revoked_at: datetime | None
    """Since when its confirmation is revoked on chain; the state stays `confirmed`."""
    finished_at: datetime | None
    """When it `failed`, or was `cancelled` or `rejected`."""
    output_hash: str | None
    """SHA-256 of the output's bytes."""
    output: OutputBody | None
    """What `GET /v1/jobs/{job_id}/output` gives."""
    batch_root: str | None
    """The root of the batch that it is sealed in, which is the batch's id on chain."""
    inclusion: InclusionBody | None
    """The transaction that carries its batch."""
    error: dict[str, Any] | None
    """Why an attempt or the job failed: `code`, `message`, `retryable`, `attempt`."""
    usage: JobUsageBody
    """What was metered of it up to now."""
    retry: RetryBody
    """When a failed attempt is tried again."""
    limits: LimitsBody
    """How long it may take."""


class ValidatedBody(BaseModel):
    """A job that could be made, with what is left out as its kind has it."""

    model_config = ConfigDict(json_schema_extra={"examples": [VALIDATED]})

    kind: str
    priority: Literal["high", "normal"]
    input_hash: str
    metadata: dict[str, str]
    run_at: datetime
    retry: RetryBody
    limits: LimitsBody


class JobPage(BaseModel):
    """A page of jobs; the last page is the one without `next_page_token`."""

    data: list[JobBody]
    next_page_token: NextPageToken = None


class EventBody(BaseModel):
    """A step of a job; `seq` is its `state_version` from then on, `from_state` is null for the first."""

    model_config = ConfigDict(json_schema_extra={"examples": [EVENT]})

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
    next_page_token: NextPageToken = None


class AttemptBody(BaseModel):
    """One try at a job; `log_tail` is the end of what the handler printed, 4 KiB at most."""

    model_config = ConfigDict(json_schema_extra={"examples": [ATTEMPT]})

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
    next_page_token: NextPageToken = None


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
        "queue_position_hint": job.queue_position,
        "input_hash": _hex(job.input_hash),
        "metadata": job.metadata,
        "rerun_of": None if job.rerun_of is None else to_public(ID_PREFIX, job.rerun_of),
        "created_at": in_utc(job.created_at),
        "run_at": in_utc(job.run_at),
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "progress": job.progress,
        "cancel_requested_at": in_utc(job.cancel_requested_at),
        "started_at": in_utc(job.started_at),
        "result_ready_at": in_utc(job.result_ready_at),
        "confirmed_at": in_utc(job.confirmed_at),
        "revoked_at": in_utc(job.revoked_at),
        "finished_at": in_utc(job.finished_at),
        "output_hash": _hex(job.output_hash),
        "output": output,
        "batch_root": _hex(job.batch_root),
        "inclusion": inclusion,
        "error": job.error,
        "usage": {"compute_seconds": _seconds(job.compute)},
    } | _options(job)


def validated_body(one: NewJob) -> dict[str, Any]:
    """Write a job that could be made as `ValidatedBody` describes it."""
    return {
        "kind": one.kind,
        "priority": one.priority.name.lower(),
        "input_hash": _hex(one.input_hash),
        "metadata": one.metadata,
        "run_at": in_utc(one.run_at),
    } | _options(one)


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


def _options(job: Job | NewJob) -> dict[str, Any]:
    return {
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
