"""A clock that a test moves."""

from dataclasses import dataclass
from datetime import UTC, datetime

NOON = datetime(2030, 1, 1, 12, 0, 0, 750_000, tzinfo=UTC)


@dataclass
class HeldClock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now
