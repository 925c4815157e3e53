"""What a handler is: one kind of job, the shape of its input, and how it wants to run.

A handler is found by an entry point of the group `jobseal.handlers` whose name is its kind.
"""

import re
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from relayer.seal.commitment import canonical_json


class Mode(StrEnum):
    """How a handler wants to run."""

    INLINE = "inline"
    """On the worker's own event loop, many jobs side by side: short work that never blocks."""
    ISOLATED = "isolated"
    """In a process of its own with resource limits and none of the platform's secrets: long or heavy work."""


class HandlerInput(BaseModel):
    """The base of every input model: no unknown fields, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


# Type, subtype and parameters (RFC 9110, 8.3.1): fit for a header.
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+( *;[ -~]*)?", re.ASCII)
_LONGEST_MEDIA_TYPE = 255


@dataclass(frozen=True)
class Output:
    """What a job made: its media type, and its bytes as a stream that is read once.

    Raises:
        ValueError: the media type is none, or longer than 255 characters.

    """

    media_type: str
    chunks: AsyncIterable[bytes]

    def __post_init__(self) -> None:
        require_media_type(self.media_type)

    @staticmethod
    def json(value: Any) -> "Output":
        """Make an `application/json` output in its RFC 8785 form."""
        return Output("application/json", _once(canonical_json(value)))

    @staticmethod
    def of_bytes(media_type: str, data: bytes) -> "Output":
        """Make an output of bytes in memory."""
        return Output(media_type, _once(data))


class Context(Protocol):
    """What a running job may ask of the platform."""

    @property
    def scratch(self) -> Path | None:
        """A folder of this attempt alone, deleted after it; None for inline handlers."""
        ...

    def read_blob(self, reference: str) -> AsyncIterator[bytes]:
        """Stream a blob (`sha256:<64 hex digits>`) that the input names; others raise `JobFailedError`."""
        ...

    def report(self, progress: dict[str, Any]) -> None:
        """Tell how far the job is, in a JSON object of 16 KiB at most; visible with the next renewal of the lease.

        Raises:
            ValueError: it is none, or larger.

        """
        ...

    def is_cancelled(self) -> bool:
        """Whether this attempt should stop: its job is to be cancelled, or its lease is lost."""
        ...

    def check_cancelled(self) -> None:
        """Raise `JobCancelledError` where this attempt should stop; a handler lets it through."""
        ...


class Handler(Protocol):
    """One kind of job.

    It may also have `retry`, a `RetryPolicy`, and `limits`, its `TimeLimits`; a submission may ask for less patience.
    """

    @property
    def kind(self) -> str:
        """The name under which jobs ask for this handler."""
        ...

    @property
    def mode(self) -> Mode:
        """How it wants to run."""
        ...

    @property
    def input_model(self) -> type[HandlerInput]:
        """What it accepts as input."""
        ...

    async def run(self, job_input: Any, context: Context) -> Output:
        """Do the work; may run more than once for one job, so its effects are repeatable.

        Args:
            job_input: an instance of `input_model`.
            context: what the platform offers.

        Raises:
            JobFailedError: the work failed.
            JobRejectedError: the input asks for something that this handler refuses.

        """
        ...


class JobFailedError(Exception):
    """The work failed; `code` is stable, the message is fit for the job's owner.

    `retry_after`, where a retryable failure knows it, is how long another try had best wait; it takes the place of
    the policy's backoff.
    """

    def __init__(
        self, code: str, message: str, *, retryable: bool = False, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after


class JobCancelledError(Exception):
    """The handler stopped because its job is to be cancelled."""


class JobRejectedError(Exception):
    """The handler refuses the input; never retried."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def require_media_type(text: object) -> str:
    """Give the text back where it is a media type; raise `ValueError` otherwise."""
    if not isinstance(text, str) or len(text) > _LONGEST_MEDIA_TYPE or not _MEDIA_TYPE.fullmatch(text):
        raise ValueError(f"no media type: {str(text)[:_LONGEST_MEDIA_TYPE]!r}")
    return text


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
