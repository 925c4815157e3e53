"""What the no-op of every contender does: it adds one record to a file, so that all are counted by one measure.

Only the standard library is imported: this also runs in Celery's environment.
"""

import os
import struct
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.engine import environment

_RECORD = struct.Struct("<qqq")


class CountError(Exception):
    """Jobs ran twice or not at all; the figures of such a run mean nothing."""


@dataclass(frozen=True)
class Mark:
    """A job began: its number, when (nanoseconds since the epoch), and in which process."""

    number: int
    at_ns: int
    pid: int


def mark(number: int) -> None:
    """Record that a job begins, in the file that the environment names."""
    # Appended in one write, so that records of several processes never mix.
    os.write(_descriptor(), _RECORD.pack(number, time.time_ns(), os.getpid()))


@cache
def _descriptor() -> int:
    return os.open(
        os.environ[environment.MARKS], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
    )


class Marks:
    """The records of one turn."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch(0o600)

    def count(self) -> int:
        """Give how many jobs began so far; costs one look at the file's size."""
        return self.path.stat().st_size // _RECORD.size

    def read(self, after: int = 0) -> list[Mark]:
        """Give the records in the order of their writing, without the first `after`."""
        data = self.path.read_bytes()[after * _RECORD.size :]
        return [Mark(*fields) for fields in _RECORD.iter_unpack(data)]

    def require_each_once(self, total: int) -> None:
        """Raise `CountError` unless every job from 0 below `total` ran exactly once."""
        runs = Counter(one.number for one in self.read())
        missing = [number for number in range(total) if number not in runs]
        again = [number for number, times in runs.items() if times > 1]
        strange = [number for number in runs if not 0 <= number < total]
        if missing or again or strange:
            raise CountError(
                f"of {total} jobs {len(missing)} never ran, {len(again)} ran again and {len(strange)} are unknown"
            )
