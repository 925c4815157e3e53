"""The records of jobs and attempts, as the database holds them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any
from uuid import UUID

from psycopg.rows import BaseRowFactory, kwargs_row

from relayer.jobs.handlers.base import Mode
from relayer.model.lifecycle import JobState


class Priority(IntEnum):
    """Which of one tenant's waiting jobs go first; it gains nothing over other tenants."""

    HIGH = 0
    NORMAL = 1


@dataclass(frozen=True)
class Job:
    """A job: every column of `jobs` that its tenant may see, and what attempts and batch tell about it.

    Hashes and the salt are 32 bytes; `ticket` is a uint64; `input` is the RFC 8785 text of the input value, None
    where the job came back from the chain without it; `error` is `{code, message, retryable, attempt}`. `attempt` is the number of the last attempt, 0 before the
    first; `progress` is what it reported last, `started_at` when it began; `compute` is what was metered of all attempts.
    The four fields of the batch are None outside of one, and a hint until the job is confirmed. `queue_position` is its place
    in its queue, from 1 to 100, which is also where those behind are, while it waits and where it was read by itself.
    """

    id: UUID
    tenant_id: UUID
    registry_id: int
    ticket: int
    kind: str
    priority: Priority
    state: JobState
    state_version: int
    status_reason: str | None
    input: str | None
    input_hash: bytes
    metadata: dict[str, Any]
    salt: bytes
    max_attempts: int
    first_backoff: timedelta
    longest_backoff: timedelta
    retry_codes: list[str] | None
    queue_limit: timedelta | None
    run_limit: timedelta
    total_limit: timedelta | None
    run_at: datetime
    output_hash: bytes | None
    output_size: int | None
    output_media_type: str | None
    error: dict[str, Any] | None
    batch_id: UUID | None
    rerun_of: UUID | None
    created_at: datetime
    cancel_requested_at: datetime | None
    result_ready_at: datetime | None
    confirmed_at: datetime | None
    finished_at: datetime | None
    revoked_at: datetime | None
    attempt: int = 0
    progress: dict[str, Any] | None = None
    started_at: datetime | None = None
    compute: timedelta = timedelta(0)
    batch_state: str | None = None
    batch_root: bytes | None = None
    transaction_hash: bytes | None = None
    block_number: int | None = None
    queue_position: int | None = None


@dataclass(frozen=True)
class JobEvent:
    """One step of a job: `seq` is the state's version from then on; `from_state` is None for the first."""

    seq: int
    from_state: str | None
    to_state: str
    actor: str
    reason: str | None
    details: dict[str, Any] | None
    occurred_at: datetime


@dataclass(frozen=True)
class Attempt:
    """One try at a job, as its tenant sees it; `log_tail` is the end of what the handler printed, 4 KiB at most."""

    id: UUID
    number: int
    state: str
    mode: str
    dispatched_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: dict[str, Any] | None
    error: dict[str, Any] | None
    log_tail: str | None


@dataclass(frozen=True)
class OpenAttempt:
    """An attempt that this worker runs, with its fencing token and what it needs of its job.

    `failures` counts the failed attempts before this one; attempts lost with their worker are not failures.
    `run_limit` is what is left for this attempt; `is_total` says that the job's total limit cut it short. Unless it
    `has_begun`, its job had moved on before, and there is nothing to run.
    """

    id: UUID
    job_id: UUID
    tenant_id: UUID
    number: int
    fencing_token: int
    kind: str
    input: str
    job_version: int
    max_attempts: int
    first_backoff: timedelta
    longest_backoff: timedelta
    retry_codes: list[str] | None
    run_limit: timedelta
    is_total: bool
    failures: int
    has_begun: bool


@dataclass(frozen=True)
class LostAttempt:
    """An attempt whose lease ran out, and how many of its job were lost so far, this one included."""

    job_id: UUID
    job_version: int
    number: int
    losses: int


@dataclass(frozen=True)
class NewAttempt:
    """An attempt about to be dispatched; attempts that share a queue job run in one go."""

    id: UUID
    job_id: UUID
    tenant_id: UUID
    kind: str
    priority: int
    mode: Mode
    queue_job_id: UUID


def _job(**row: Any) -> Job:
    return Job(**row | {"state": JobState(row["state"]), "priority": Priority(row["priority"])})


job_row: BaseRowFactory[Job] = kwargs_row(_job)
