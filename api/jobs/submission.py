"""What a client sends for a job to be made, alone or in a batch: one way of reading it."""

import hashlib
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.bodies import BODY_PROBLEMS, validate
from api.errors import Code
from api.fields import ErrorCode, Instant, Kind, MetadataName, MetadataValue
from relayer.jobs.records import Priority
from relayer.jobs.submission import Options, Submission
from relayer.seal.strict_json import canonical_json

_Backoff = Annotated[float, Field(ge=0.1, le=86_400)]
_Limit = Annotated[float, Field(ge=0.001, le=31_536_000)]


SUBMISSION_PROBLEMS = (
    *BODY_PROBLEMS,
    Code.INVALID_PARAMETER,
    Code.IDEMPOTENCY_KEY_REQUIRED,
    Code.INVALID_IDEMPOTENCY_KEY,
    Code.UNKNOWN_KIND,
    Code.INVALID_INPUT,
    Code.UNKNOWN_BLOB,
    Code.IDEMPOTENCY_KEY_REUSED,
    Code.WAITING_CAP_REACHED,
    Code.QUOTA_EXCEEDED,
)
"""What a request for a job may end with."""


class SubmitQuery(BaseModel):
    """Whether the request is only to be checked."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    validate_only: bool = False
    """Check everything and write nothing: 200 says that the same request would be accepted by now."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RetryOptions(_Body):
    """When a failed attempt is tried again; what is left out is as the kind has it.

    `codes`: the error codes that are tried again; without it every error that says it is retryable.
    """

    max_attempts: Annotated[int, Field(ge=1, le=20)] | None = None
    first_backoff_seconds: _Backoff | None = None
    longest_backoff_seconds: _Backoff | None = None
    codes: Annotated[list[ErrorCode], Field(max_length=20)] | None = None


class LimitOptions(_Body):
    """How long the job may take, none longer than its kind allows; what is left out is as the kind has it.

    `queue_seconds` counts the wait for a turn from `run_at` on, `run_seconds` one attempt, `total_seconds` all of
    it from the submission.
    """

    queue_seconds: _Limit | None = None
    run_seconds: _Limit | None = None
    total_seconds: _Limit | None = None


class SubmitBody(_Body):
    """A job to be done. `input` is hashed exactly as sent; its shape belongs to the kind."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "digest",
                    "input": {"text": "hello"},
                    "metadata": {"order": "17"},
                    "retry": {"max_attempts": 2},
                    "limits": {"run_seconds": 600},
                }
            ]
        }
    )

    kind: Kind
    input: Any
    metadata: Annotated[dict[MetadataName, MetadataValue], Field(max_length=32, default_factory=dict)]
    priority: Literal["high", "normal"] = "normal"
    run_at: Instant | None = None
    retry: Annotated[RetryOptions, Field(default_factory=RetryOptions)]
    limits: Annotated[LimitOptions, Field(default_factory=LimitOptions)]


def read_submission(value: Any, key: str, canonical: bytes | None = None) -> Submission:
    """Read what stands for one job, with its idempotency key; `canonical` spares writing the value's RFC 8785 form.

    Raises:
        ProblemError: with a fault for each place that does not fit.

    """
    body = validate(SubmitBody, value)
    return Submission(
        kind=body.kind,
        input=value["input"],
        metadata=body.metadata,
        idempotency_key=key,
        fingerprint=hashlib.sha256(canonical_json(value) if canonical is None else canonical).digest(),
        options=Options(
            priority=Priority[body.priority.upper()],
            run_at=body.run_at,
            max_attempts=body.retry.max_attempts,
            first_backoff=_time(body.retry.first_backoff_seconds),
            longest_backoff=_time(body.retry.longest_backoff_seconds),
            retry_codes=None if body.retry.codes is None else tuple(body.retry.codes),
            queue_limit=_time(body.limits.queue_seconds),
            run_limit=_time(body.limits.run_seconds),
            total_limit=_time(body.limits.total_seconds),
        ),
    )


def _time(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
