"""The clock that services are given, so that a test can hold it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Give the time of this machine, in UTC."""
    return datetime.now(UTC)
