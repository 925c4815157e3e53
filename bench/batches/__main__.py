"""`python -m bench.batches`: what batching and the drawing of tickets cost and save on mixes of durations."""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from bench.batches.mixes import SYNTHETIC, submissions
from bench.batches.simulation import Result, Sealing, Simulation, Tickets
from relayer.batches.policy import Policy

_GWEI = 10**9
# Durations of a mix are at most an hour; what is sealed in the minutes after the start is not counted.
_SETTLED_AFTER_MINUTES = 25
_POLICY = Policy(max_jobs=131_072, max_age=timedelta(seconds=60), second_price=_GWEI)


@dataclass(frozen=True)
class _Run:
    """One line: a mix, by its number, and how it is drawn and sealed; the price of gas is in gwei, None: unknown."""

    mix: int
    tickets: Tickets
    sealing: Sealing
    gwei: float | None
    per_minute: int
    minutes: int
    seed: int

    def result(self) -> Result:
        price = None if self.gwei is None else int(self.gwei * _GWEI)
        simulation = Simulation(_POLICY, tickets=self.tickets, sealing=self.sealing, gas_price=price)
        jobs = submissions(SYNTHETIC[self.mix], self.per_minute, self.minutes, self.seed)
        batches = simulation.run(jobs, until=60.0 * self.minutes)
        return Result.of([one for one in batches if one.at > 60 * _SETTLED_AFTER_MINUTES], _POLICY.max_age)

    def line(self, result: Result) -> str:
        name = SYNTHETIC[self.mix].name
        price = "" if self.gwei is None else f", gas at {self.gwei:g} gwei"
        return (
            f"| {name} | {self.tickets} | {self.sealing}{price} | {result.gas_a_job:,.0f} | {result.jobs_a_word:,.0f} "
            f"| {result.batches / (self.minutes - _SETTLED_AFTER_MINUTES):.1f} | {result.wait_p50:.1f} / "
            f"{result.wait_p95:.1f} / {result.wait_max:.1f} | {result.late} |"
        )


def _runs(per_minute: int, minutes: int, seed: int) -> list[_Run]:
    variants = (
        (Tickets.ONE_SEQUENCE, Sealing.ALL_FINISHED, None),
        (Tickets.BY_DURATION, Sealing.POLICY, None),
        (Tickets.BY_DURATION, Sealing.POLICY, 1.0),
    )
    return [
        _Run(mix, tickets, sealing, gwei, per_minute, minutes, seed)
        for mix in range(len(SYNTHETIC))
        for tickets, sealing, gwei in variants
    ]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.batches", description=__doc__)
    parser.add_argument("--per-minute", type=int, default=5_000, help="jobs submitted a minute")
    parser.add_argument(
        "--minutes", type=int, default=36, help=f"simulated; {_SETTLED_AFTER_MINUTES} are not counted"
    )
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same table")
    options = parser.parse_args()
    if options.minutes <= _SETTLED_AFTER_MINUTES:
        parser.error(f"--minutes: expected more than {_SETTLED_AFTER_MINUTES}")
    runs = _runs(options.per_minute, options.minutes, options.seed)
    _say(
        "| mix | tickets | sealed | gas a job | jobs a word | batches a minute | wait p50 / p95 / max, s | late |"
    )
    _say("|---|---|---|---|---|---|---|---|")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for run, result in zip(runs, pool.map(_Run.result, runs), strict=True):
            _say(run.line(result))


if __name__ == "__main__":
    main()
