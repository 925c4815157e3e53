"""One contender's turn: warm up, pick up lone jobs, drain a backlog, and check that all was done."""

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.engine import processes
from bench.engine.contender import WORKERS, Contender
from relayer.model.errors import JobsealError

_WARM_UP = 100
_LIMIT_S = 300.0
_POLL_S = 0.005
_LONGEST_PAUSE_S = 0.1


class BenchError(JobsealError):
    """The measurement came to no end."""


@dataclass(frozen=True)
class Drain:
    """A backlog done: from the workers' start signal until the engine's books are closed.

    `cpu_ms` is CPU milliseconds a job, by part; `other_cores` is how many cores the rest of the machine kept busy
    meanwhile, this harness included.
    """

    jobs: int
    seconds: float
    cpu_ms: dict[str, float]
    other_cores: float

    @property
    def jobs_per_second(self) -> float:
        """The rate."""
        return self.jobs / self.seconds

    @property
    def total_cpu_ms(self) -> float:
        """CPU milliseconds a job, of all parts: the figure that a busy machine disturbs least."""
        return sum(self.cpu_ms.values())


@dataclass(frozen=True)
class PickUp:
    """Lone jobs: milliseconds from the return of the submitting call to the handler's start."""

    ms: list[float]

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.ms)

    @property
    def p95(self) -> float:
        """What 95 of 100 do not exceed."""
        return sorted(self.ms)[max(0, -(-len(self.ms) * 95 // 100) - 1)]


@dataclass(frozen=True)
class Turn:
    """What one contender showed in one round."""

    contender: str
    round: int
    settings: dict[str, str]
    pick_up: PickUp
    drain: Drain


def take_turn(contender: Contender, round_number: int, *, lone: int, jobs: int) -> Turn:
    """Measure a contender that was started just now.

    Raises:
        CountError: a job ran twice or not at all, or the engine's books are wrong.
        BenchError: nothing moves any more.
        ServerError: a process died.

    """
    done = _warm_up(contender)
    # The same pauses for all.
    pauses = random.Random(round_number)  # noqa: S311 - no secret
    pick_up = _pick_up(contender, done, lone, pauses)
    done += lone
    drain = _drain(contender, done, jobs)
    contender.check(done + jobs)
    return Turn(contender.name, round_number, contender.settings(), pick_up, drain)


def _warm_up(contender: Contender) -> int:
    """Run jobs until every worker has done some; give how many."""
    deadline = time.monotonic() + _LIMIT_S
    done = 0
    while len({one.pid for one in contender.marks.read()}) < WORKERS:
        if time.monotonic() > deadline:
            raise BenchError(f"{contender.name}: not every worker takes jobs; see {contender.home}")
        contender.submit_many(range(done, done + _WARM_UP))
        done += _WARM_UP
        _wait_settled(contender, done)
    return done


def _pick_up(contender: Contender, done: int, count: int, pauses: random.Random) -> PickUp:
    returned = []
    for number in range(done, done + count):
        # Whoever looks for work at intervals is met at any moment of one.
        time.sleep(pauses.uniform(0, _LONGEST_PAUSE_S))
        returned.append(contender.submit_one(number))
        _wait_settled(contender, number + 1)
    started = [one.at_ns for one in contender.marks.read(after=done)]
    return PickUp([(begin - end) / 1e6 for begin, end in zip(started, returned, strict=True)])


def _drain(contender: Contender, done: int, jobs: int) -> Drain:
    contender.hold()
    contender.submit_many(range(done, done + jobs))
    parts = contender.pids
    cpu, busy, start = processes.cpu_seconds(parts), processes.busy_seconds(), time.perf_counter()
    contender.resume()
    _wait_settled(contender, done + jobs)
    seconds = time.perf_counter() - start
    busy = processes.busy_seconds() - busy
    cpu = {part: after - cpu[part] for part, after in processes.cpu_seconds(parts).items()}
    return Drain(
        jobs,
        seconds,
        cpu_ms={part: spent * 1e3 / jobs for part, spent in cpu.items()},
        other_cores=max(0.0, busy - sum(cpu.values())) / seconds,
    )


def _wait_settled(contender: Contender, total: int) -> None:
    """Wait until `total` jobs of the turn began and the engine's books on them are closed."""
    _wait(contender, lambda: contender.marks.count() >= total)
    _wait(contender, lambda: contender.is_settled(total))


def _wait(contender: Contender, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while not condition():
        contender.require_alive()
        if time.monotonic() > deadline:
            raise BenchError(
                f"{contender.name}: {contender.marks.count()} jobs began and no more; see {contender.home}"
            )
        time.sleep(_POLL_S)
