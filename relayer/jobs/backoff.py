"""How long a failed job waits for its next try. No input or output."""

from collections.abc import Callable
from datetime import timedelta
from random import SystemRandom

# Past this many doublings every bound is longer than any policy's longest wait.
_MOST_DOUBLINGS = 64
_random = SystemRandom()


def backoff(
    first: timedelta,
    longest: timedelta,
    failures: int,
    uniform: Callable[[float, float], float] = _random.uniform,
) -> timedelta:
    """Give the wait after the `failures`-th failure: full jitter.

    Anything from `first` up to a bound that starts at twice `first`, doubles with every failure, and never passes
    `longest`.
    """
    shortest = first.total_seconds()
    bound = min(longest.total_seconds(), shortest * 2.0 ** min(failures, _MOST_DOUBLINGS))
    return timedelta(seconds=uniform(shortest, max(shortest, bound)))
