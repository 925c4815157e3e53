"""How a handler's exception becomes the error of its job. No input or output: the clean child uses it too."""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from relayer.jobs.handlers.base import JobFailedError, JobRejectedError

_LONGEST_MESSAGE = 2000
_LONGEST_CODE = 64
_LONGEST_RETRY_AFTER = timedelta(days=7)


class Stop(Enum):
    """Why an attempt was stopped although its handler had not come to an end."""

    LOST = auto()
    """Its lease is lost; nothing of it may be written."""
    CANCELLED = auto()
    """Its job is to be cancelled."""
    DRAINED = auto()
    """Its worker is asked to stop; the job gets another turn, and no attempt is spent."""


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed: a stable code, a sentence for the job's owner, whether another try may help.

    `retry_after` is how long the handler wants the next try to wait. `rejected` means that the handler refuses the
    input: no failure of the platform, and never retried.
    """

    code: str
    message: str
    retryable: bool
    retry_after: timedelta | None = None
    rejected: bool = False

    @staticmethod
    def of_time(limit: timedelta) -> "Failure":
        """An attempt that ran longer than it may; another one would too."""
        return Failure("run_limit", f"the job ran longer than {limit}", retryable=False)

    @staticmethod
    def of(error: Exception) -> "Failure":
        """Read what a handler raised; what it did not mean to raise may pass with another try."""
        if isinstance(error, JobFailedError):
            wait = None if error.retry_after is None else min(error.retry_after, _LONGEST_RETRY_AFTER)
            return Failure(
                error.code[:_LONGEST_CODE], error.message[:_LONGEST_MESSAGE], error.retryable, wait
            )
        if isinstance(error, JobRejectedError):
            return Failure(
                error.code[:_LONGEST_CODE], error.message[:_LONGEST_MESSAGE], retryable=False, rejected=True
            )
        message = f"the handler raised {type(error).__name__}: {error}"
        return Failure("handler_error", message[:_LONGEST_MESSAGE], retryable=True)
