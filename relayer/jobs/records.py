"""The records of jobs and attempts, as the database holds them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import BaseRowFactory, kwargs_row

from relayer.jobs.handlers.base import Mode
from relayer.model.lifecycle import JobState


@dataclass(frozen=True)
class Job:
    """A job: every column of `jobs`, and what its batch tells about its way onto the chain.

    Hashes and the salt are 32 bytes; `ticket` is a uint64; `input` is the RFC 8785 text of the input value;
    `error` is `{code, message, retryable, attempt}`. The last four fields are None outside a batch, and a hint
    until the job is confirmed.
    """

    id: UUID
    tenant_id: UUID
    registry_id: int
    ticket: int
    kind: str
    state: JobState
    state_version: int
    status_reason: str | None
    input: str
    input_hash: bytes
    metadata: dict[str, Any]
    salt: bytes
    max_attempts: int
    run_at: datetime
    output_hash: bytes | None
    output_size: int | None
    output_media_type: str | None
    error: dict[str, Any] | None
    batch_id: UUID | None
    rerun_of: UUID | None
    created_at: datetime
    result_ready_at: datetime | None
    confirmed_at: datetime | None
    revoked_at: datetime | None
    batch_state: str | None = None
    batch_root: bytes | None = None
    transaction_hash: bytes | None = None
    block_number: int | None = None


@dataclass(frozen=True)
class OpenAttempt:
    """An attempt that this worker runs, with its fencing token and what it needs of its job.

    `failures` counts the failed attempts before this one; attempts lost with their worker are not failures.
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
    failures: int


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
    mode: Mode
    queue_job_id: UUID


def _job(**row: Any) -> Job:
    return Job(**row | {"state": JobState(row["state"])})


job_row: BaseRowFactory[Job] = kwargs_row(_job)
