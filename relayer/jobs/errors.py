"""What may be wrong with what a tenant asks of jobs and blobs."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from relayer.jobs.records import Job
from relayer.model.errors import JobsealError


class InvalidInputError(JobsealError):
    """The input does not fit the handler's model, or an option its kind.

    `errors` holds (JSON pointer into the request, stable code, sentence) for every flaw.
    """

    def __init__(self, errors: list[tuple[str, str, str]]) -> None:
        pointer, _, detail = errors[0]
        super().__init__(f"{pointer}: {detail}")
        self.errors = errors


class WaitingCapError(JobsealError):
    """The tenant has as many waiting jobs as it may have; nothing was accepted of this one."""

    def __init__(self, cap: int) -> None:
        super().__init__(
            f"{cap} jobs are waiting, as many as this tenant may have; submit it when some have run"
        )
        self.cap = cap


class QuotaExceededError(JobsealError):
    """A quota of the tenant is used up until `resets_at`; nothing was accepted of this job.

    `used` and `cap` are in units of the meter; `retry_after` says how long that is from now.
    """

    def __init__(self, meter: str, used: Decimal, cap: Decimal, resets_at: datetime, at: datetime) -> None:
        super().__init__(
            f"the quota of {meter} is used up: {used.normalize():f} of {cap.normalize():f}; "
            f"it begins anew at {resets_at:%Y-%m-%dT%H:%M:%SZ}"
        )
        self.meter = meter
        self.used = used
        self.cap = cap
        self.resets_at = resets_at
        self.retry_after = resets_at - at


class JobEndedError(JobsealError):
    """The job has come to an end already, so that it cannot be cancelled."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"the job is {job.state}; only a job that waits or runs can be cancelled")
        self.job = job


class JobNotEndedError(JobsealError):
    """The job still waits or runs, so that it cannot be run again."""

    def __init__(self, job: Job) -> None:
        super().__init__(
            f"the job is {job.state}; it can be run again when it has come to an end, or cancel it first"
        )
        self.job = job


class BlobNotFoundError(JobsealError):
    """The tenant owns no blob of this hash."""

    def __init__(self) -> None:
        super().__init__("no blob of this tenant has this hash")


class BlobInUseError(JobsealError):
    """A blob that a job still needs was to be deleted; `job_id` is one such job."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(
            "a job that has not ended names the blob in its input; wait for the job, or cancel it"
        )
        self.job_id = job_id


class StorageFullError(JobsealError):
    """A tenant would store more than it may; sizes are in bytes."""

    def __init__(self, used: int, cap: int) -> None:
        super().__init__(
            f"the blob does not fit: {used} of {cap} bytes are used; delete blobs with DELETE /v1/blobs/{{blob}}"
        )
        self.used = used
        self.cap = cap


class OutputDeletedError(JobsealError):
    """A job's output was made, and its owner deleted it."""

    def __init__(self, output_hash: bytes) -> None:
        super().__init__("the output was deleted; its hash and the job's receipt stay as they are")
        self.output_hash = output_hash
