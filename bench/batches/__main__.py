"""`python -m bench.batches`: what batching and the drawing of tickets cost and save on mixes of durations.

On synthetic mixes, or on one that `jobseal admin export-mix` has recorded.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from bench.batches.floor import TooShortError
from bench.batches.mixes import SYNTHETIC, submissions
from bench.batches.simulation import Result, Sealing, Simulation, Tickets
from relayer.batches.mix import MixJob, read_mix
from relayer.batches.policy import Policy

_GWEI = 10**9
# A kind is known as soon as one of its jobs has ended, and what was drawn before that takes as long again to end: all but
# the heaviest tails of the synthetic mixes are steady by then. What is sealed before is not counted.
_SETTLED_AFTER_MINUTES = 55
_POLICY = Policy(max_jobs=131_072, max_age=timedelta(seconds=60), second_price=_GWEI)
_VARIANTS = (
    (Tickets.ONE_SEQUENCE, Sealing.ALL_FINISHED, None),
    (Tickets.BY_DURATION, Sealing.POLICY, None),
    (Tickets.BY_DURATION, Sealing.POLICY, 1.0),
)


class _Source(Protocol):
    """A mix, and from when to when of it batches count, in seconds."""

    @property
    def name(self) -> str: ...
    @property
    def settled_at(self) -> float: ...
    @property
    def ends_at(self) -> float: ...
    def jobs(self) -> Iterable[MixJob]: ...


@dataclass(frozen=True)
class _Synthetic:
    """A synthetic mix, by its number: how long its jobs run are functions, which no other process can be handed."""

    number: int
    per_minute: int
    minutes: int
    seed: int

    @property
    def name(self) -> str:
        return SYNTHETIC[self.number].name

    @property
    def settled_at(self) -> float:
        return 60.0 * _SETTLED_AFTER_MINUTES

    @property
    def ends_at(self) -> float:
        return 60.0 * self.minutes

    def jobs(self) -> Iterable[MixJob]:
        return submissions(SYNTHETIC[self.number], self.per_minute, self.minutes, self.seed)


@dataclass(frozen=True)
class _Recorded:
    """A recorded mix; its first half is not counted."""

    path: Path
    ends_at: float

    @classmethod
    def of(cls, path: Path) -> "_Recorded":
        with path.open(encoding="utf-8", newline="") as lines:
            return cls(path, max((job.at for job in read_mix(lines)), default=0.0))

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def settled_at(self) -> float:
        return self.ends_at / 2

    def jobs(self) -> Iterable[MixJob]:
        with self.path.open(encoding="utf-8", newline="") as lines:
            yield from read_mix(lines)


@dataclass(frozen=True)
class _Run:
    """One line: a mix, and how it is drawn and sealed; the price of gas is in gwei, None: unknown."""

    source: _Source
    tickets: Tickets
    sealing: Sealing
    gwei: float | None

    def result(self) -> Result:
        price = None if self.gwei is None else int(self.gwei * _GWEI)
        simulation = Simulation(_POLICY, tickets=self.tickets, sealing=self.sealing, gas_price=price)
        batches = simulation.run(self.source.jobs(), until=self.source.ends_at)
        return Result.of(batches, _POLICY.max_age, self.source.settled_at)

    def line(self, result: Result) -> str:
        price = "" if self.gwei is None else f", gas at {self.gwei:g} gwei"
        minutes = (self.source.ends_at - self.source.settled_at) / 60
        return (
            f"| {self.source.name} | {self.tickets} | {self.sealing}{price} | {result.gas_a_job:,.0f} | {result.least_gas_a_job:,.0f} "
            f"| {result.jobs_a_word:,.0f} | {result.batches / minutes:.1f} | {result.wait_p50:.1f} / "
            f"{result.wait_p95:.1f} / {result.wait_max:.1f} | {result.late} |"
        )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.batches", description=__doc__)
    parser.add_argument(
        "--recorded", type=Path, help="a file of `jobseal admin export-mix`, instead of synthetic mixes"
    )
    parser.add_argument("--per-minute", type=int, default=5_000, help="jobs submitted a minute")
    parser.add_argument(
        "--minutes", type=int, default=66, help=f"simulated; {_SETTLED_AFTER_MINUTES} are not counted"
    )
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same table")
    options = parser.parse_args()
    if options.minutes <= _SETTLED_AFTER_MINUTES:
        parser.error(f"--minutes: expected more than {_SETTLED_AFTER_MINUTES}")
    sources: list[_Source] = (
        [
            _Synthetic(number, options.per_minute, options.minutes, options.seed)
            for number in range(len(SYNTHETIC))
        ]
        if options.recorded is None
        else [_Recorded.of(options.recorded)]
    )
    runs = [_Run(source, *variant) for source in sources for variant in _VARIANTS]
    _say(
        "| mix | tickets | sealed | gas a job | at least | jobs a word | batches a minute | wait p50 / p95 / max, s | late |"
    )
    _say("|---|---|---|---|---|---|---|---|---|")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        try:
            for run, result in zip(runs, pool.map(_Run.result, runs), strict=True):
                _say(run.line(result))
        except TooShortError:
            parser.exit(1, "too few jobs are sealed in the time that counts; take a longer mix\n")


if __name__ == "__main__":
    main()
