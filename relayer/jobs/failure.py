"""How a handler's exception becomes the error of its job. No input or output: the clean child uses it too."""

from dataclasses import dataclass

from relayer.jobs.handlers.base import JobFailedError, JobRejectedError

_LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed: a stable code, a sentence for the job's owner, whether another try may help.

    `rejected` means that the handler refuses the input: no failure of the platform, and never retried.
    """

    code: str
    message: str
    retryable: bool
    rejected: bool = False

    @staticmethod
    def of(error: Exception) -> "Failure":
        """Read what a handler raised; what it did not mean to raise may pass with another try."""
        if isinstance(error, JobFailedError):
            return Failure(error.code, error.message, error.retryable)
        if isinstance(error, JobRejectedError):
            return Failure(error.code, error.message, retryable=False, rejected=True)
        message = f"the handler raised {type(error).__name__}: {error}"
        return Failure("handler_error", message[:_LONGEST_MESSAGE], retryable=True)
