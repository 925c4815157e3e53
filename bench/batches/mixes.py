"""Mixes of jobs as they might be submitted: of which kinds, how many, and how long each runs."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from relayer.batches.mix import MixJob

Duration = Callable[[random.Random], float]


@dataclass(frozen=True)
class Kind:
    """A kind of jobs: its part of all, and how long a job of it runs, in seconds."""

    name: str
    share: float
    duration: Duration


@dataclass(frozen=True)
class Mix:
    """Kinds that are submitted together; `bursts`: a minute's jobs come within its first ten seconds."""

    name: str
    kinds: tuple[Kind, ...]
    bursts: bool = False


def around(median: float, spread: float) -> Duration:
    """Log-normal durations: two thirds of them lie within a factor of `1 + spread`, about, of their median."""
    mu, sigma = math.log(median), math.log1p(spread)
    return lambda rng: rng.lognormvariate(mu, sigma)


def _heavy(least: float, alpha: float, most: float) -> Duration:
    """Pareto durations: many short ones, and a few that take almost for ever."""
    return lambda rng: min(least * rng.paretovariate(alpha), most)


def _many_kinds(count: int) -> tuple[Kind, ...]:
    """Kinds from a second to twenty minutes, evenly by magnitude."""
    return tuple(
        Kind(f"kind-{number}", 1 / count, around(1_200 ** (number / (count - 1)), 0.15))
        for number in range(count)
    )


SYNTHETIC = (
    Mix("short, alike", (Kind("digest", 1.0, lambda rng: rng.uniform(0.1, 2.0)),)),
    Mix("short and long", (Kind("digest", 0.6, around(1, 0.3)), Kind("render", 0.4, around(600, 0.05)))),
    Mix(
        "short, minutes and twenty minutes",
        (
            Kind("digest", 0.5, around(2, 0.3)),
            Kind("convert", 0.3, around(150, 0.1)),
            Kind("render", 0.2, around(1_200, 0.02)),
        ),
    ),
    Mix("twenty kinds, a second to twenty minutes", _many_kinds(20)),
    Mix(
        "bursts of three kinds",
        (
            Kind("digest", 0.4, around(1, 0.3)),
            Kind("convert", 0.3, around(45, 0.2)),
            Kind("render", 0.3, around(400, 0.1)),
        ),
        bursts=True,
    ),
    Mix("heavy tail", (Kind("solve", 1.0, _heavy(2, 1.1, 3_600)),)),
    Mix(
        "short beside a heavy tail",
        (Kind("digest", 0.9, around(1, 0.3)), Kind("solve", 0.1, _heavy(20, 1.1, 3_600))),
    ),
)


def submissions(mix: Mix, per_minute: int, minutes: int, seed: int) -> Iterator[MixJob]:
    """Give the jobs of a mix in the order of their submission; the same seed gives the same."""
    rng = random.Random(seed)  # noqa: S311 - nobody need be kept from guessing
    kinds = rng.choices(mix.kinds, [kind.share for kind in mix.kinds], k=per_minute * minutes)
    for number, kind in enumerate(kinds):
        minute, place = divmod(number, per_minute)
        at = 60 * minute + (10 if mix.bursts else 60) * place / per_minute
        seconds = kind.duration(rng)
        yield MixJob(at, kind.name, 0.0, seconds, seconds)
