"""A recorded mix of jobs: of which kinds they were, when they were submitted and when they ended.

Neither whose they were nor anything of what was in them. As CSV: a heading, then a line a job.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from typing import TextIO


@dataclass(frozen=True)
class MixJob:
    """A job as batching sees it; times in seconds.

    Attributes:
        at: when it was submitted, counted from the first of the mix.
        kind: its kind.
        delay: how long after that it was to begin.
        ended: after how long its result was ready, or it was over without one; None: not yet.
        ran: how long the attempt ran that made the result; None where there is none.

    """

    at: float
    kind: str
    delay: float
    ended: float | None
    ran: float | None


_HEADING = [field.name for field in fields(MixJob)]


class MixWriter:
    """Writes a mix, a job at a time."""

    def __init__(self, file: TextIO) -> None:
        self._csv = csv.writer(file, lineterminator="\n")
        self._csv.writerow(_HEADING)

    def write(self, job: MixJob) -> None:
        """Write one job, its times to the millisecond."""
        self._csv.writerow([_text(value) for value in astuple(job)])


def read_mix(lines: Iterable[str]) -> Iterator[MixJob]:
    """Read what a `MixWriter` wrote.

    Raises:
        ValueError: it is something else.

    """
    rows = csv.reader(lines)
    if (heading := next(rows, None)) != _HEADING:
        raise ValueError(f"no recorded mix: it begins with {heading}, not with {_HEADING}")
    for at, kind, delay, ended, ran in rows:
        yield MixJob(float(at), kind, float(delay), _number(ended), _number(ran))


def _text(value: float | str | None) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return value or ""


def _number(text: str) -> float | None:
    return float(text) if text else None
