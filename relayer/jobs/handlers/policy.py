"""How often a job is tried, and how long it may take: set by its kind, narrowed by its submission."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class RetryPolicy:
    """When a failed attempt is tried again: full jitter (Brooker, "Exponential Backoff And Jitter", 2015).

    Attributes:
        max_attempts: how many attempts may fail; attempts lost with their worker have a budget of their own.
        first_backoff: the shortest wait; twice as long is the bound of the first one, which doubles with every failure.
        longest_backoff: what the bound never passes.
        codes: the error codes that are tried again; None: every error that says it is retryable.

    """

    max_attempts: int = 3
    first_backoff: timedelta = timedelta(seconds=2)
    longest_backoff: timedelta = timedelta(minutes=5)
    codes: frozenset[str] | None = None


@dataclass(frozen=True)
class TimeLimits:
    """How long a job may wait for its turn, how long one attempt may run, and how long all of it may take.

    None means no limit. `queue` counts from the time at which the job may run, `total` from its submission.
    """

    queue: timedelta | None = None
    run: timedelta = timedelta(hours=24)
    total: timedelta | None = None
