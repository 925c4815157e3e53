"""How a handler's exception becomes the error of its job. No input or output: the clean child uses it too."""

import errno
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from relayer.jobs.handlers.base import JobFailedError, JobRejectedError
from relayer.jobs.handlers.registry import HandlerError
from relayer.jobs.plain_text import plain
from relayer.store.blobs import BlobCorruptError, BlobMissingError

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
    input: no failure of the platform, and never retried. Code and message are fit for the database, whatever they
    were made of.
    """

    code: str
    message: str
    retryable: bool
    retry_after: timedelta | None = None
    rejected: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", plain(self.code, _LONGEST_CODE))
        object.__setattr__(self, "message", plain(self.message, _LONGEST_MESSAGE))
        object.__setattr__(self, "retryable", bool(self.retryable))
        object.__setattr__(self, "retry_after", _bounded(self.retry_after))

    @staticmethod
    def of_time(limit: timedelta, *, is_total: bool) -> "Failure":
        """An attempt that ran longer than it may; another one would too."""
        if is_total:
            return Failure(
                "total_limit", "the job did not come to an end within its total limit", retryable=False
            )
        return Failure("run_limit", f"the job ran longer than {limit}", retryable=False)

    @staticmethod
    def of_needless_stop() -> "Failure":
        """A handler that stopped as if it had been asked to."""
        return Failure("handler_error", "the handler stopped although nobody asked", retryable=True)

    @staticmethod
    def of(error: BaseException) -> "Failure":
        """Read what a handler raised; what it did not mean to raise may pass with another try."""
        match error:
            case JobFailedError():
                return Failure(error.code, error.message, error.retryable, error.retry_after)
            case JobRejectedError():
                return Failure(error.code, error.message, retryable=False, rejected=True)
            case MemoryError():
                code, message, retryable = (
                    "memory_limit",
                    "the handler needed more memory than it may have",
                    False,
                )
            case OSError(errno=errno.EFBIG):
                code, message, retryable = "file_limit", "the handler wrote a larger file than it may", False
            case BlobMissingError() | BlobCorruptError():
                code, message, retryable = "blob_unreadable", str(error), True
            case HandlerError():
                code, message, retryable = "handler_unavailable", str(error), True
            case _:
                text = plain(error, _LONGEST_MESSAGE)
                code, message, retryable = (
                    "handler_error",
                    f"the handler raised {type(error).__name__}: {text}",
                    True,
                )
        return Failure(code, message, retryable)


def _bounded(wait: timedelta | None) -> timedelta | None:
    """Give a wait that makes sense; what is none counts as not said."""
    if not isinstance(wait, timedelta):
        return None
    return max(timedelta(0), min(wait, _LONGEST_RETRY_AFTER))
