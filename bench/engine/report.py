"""What the turns add up to: medians, ratios, and whether each goal is met; as JSON and as text."""

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.engine.measure import Turn

OURS = "jobseal"


@dataclass(frozen=True)
class Goal:
    """A figure of Jobseal's beside its bound; `value` is None where a contender was left out."""

    name: str
    value: float | None
    bound: float
    at_least: bool

    @property
    def met(self) -> bool | None:
        """Whether the figure keeps the bound; None where it was not measured."""
        if self.value is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound


class Report:
    """The report of one run."""

    def __init__(self, turns: Sequence[Turn], servers: Mapping[str, str]) -> None:
        self._turns = turns
        self._servers = servers
        self._names = list(dict.fromkeys(turn.contender for turn in turns))

    def goals(self) -> list[Goal]:
        """Give the goals of docs/reference/benchmarks.md."""
        pick_up = self._median(OURS, lambda turn: turn.pick_up.p50) if OURS in self._names else None
        return [
            Goal("drain, times RQ", self._ratio("rq"), 5.0, at_least=True),
            Goal("drain, times Celery", self._ratio("celery"), 1.0, at_least=True),
            Goal("lone pick-up p50, ms", pick_up, 10.0, at_least=False),
        ]

    def as_json(self) -> dict[str, Any]:
        """Give everything, every single pick-up included."""
        return {
            "machine": machine(),
            "servers": dict(self._servers),
            "settings": {turn.contender: turn.settings for turn in self._turns},
            "turns": [
                {
                    "contender": turn.contender,
                    "round": turn.round,
                    "drain": vars(turn.drain)
                    | {
                        "jobs_per_second": turn.drain.jobs_per_second,
                        "total_cpu_ms": turn.drain.total_cpu_ms,
                    },
                    "pick_up": {"p50": turn.pick_up.p50, "p95": turn.pick_up.p95, "ms": turn.pick_up.ms},
                }
                for turn in self._turns
            ],
            "medians": {
                name: {
                    "jobs_per_second": self._median(name, lambda turn: turn.drain.jobs_per_second),
                    "pick_up_p50_ms": self._median(name, lambda turn: turn.pick_up.p50),
                    "pick_up_p95_ms": self._median(name, lambda turn: turn.pick_up.p95),
                    "cpu_ms": self._median_cpu(name),
                    "total_cpu_ms": self._median(name, lambda turn: turn.drain.total_cpu_ms),
                }
                for name in self._names
            },
            "ratios": {
                f"{OURS}/{other}": self._ratios(other) for other in ("rq", "celery") if self._ratios(other)
            },
            "goals": [vars(goal) | {"met": goal.met} for goal in self.goals()],
        }

    def as_text(self) -> str:
        """Give what a person wants to know."""
        lines = [_facts("machine", machine()), _facts("servers", self._servers)]
        settings = {turn.contender: turn.settings for turn in self._turns}
        lines += [_facts(name, settings[name]) for name in self._names]
        lines += ["", HEAD, *(row(turn) for turn in self._turns), ""]
        for name in self._names:
            rate = self._median(name, lambda turn: turn.drain.jobs_per_second)
            p50, p95 = (
                self._median(name, pick) for pick in (lambda t: t.pick_up.p50, lambda t: t.pick_up.p95)
            )
            lines.append(f"median  {_figures(name, rate, p50, p95, self._median_cpu(name))}")
        for other in ("rq", "celery"):
            if ratios := self._ratios(other):
                rounds = "  ".join(f"{ratio:.2f}" for ratio in ratios)
                ours, theirs = (
                    self._median(name, lambda turn: turn.drain.total_cpu_ms) for name in (OURS, other)
                )
                lines.append(
                    f"{OURS} / {other}: jobs/s by round {rounds}; jobs a CPU second, median {theirs / ours:.2f}"
                )
        return "\n".join([*lines, "", *map(_verdict, self.goals())])

    def _of(self, name: str) -> list[Turn]:
        return [turn for turn in self._turns if turn.contender == name]

    def _median(self, name: str, figure: Callable[[Turn], float]) -> float:
        return statistics.median(figure(turn) for turn in self._of(name))

    def _median_cpu(self, name: str) -> dict[str, float]:
        parts = list(self._of(name)[0].drain.cpu_ms)
        return {part: statistics.median(turn.drain.cpu_ms[part] for turn in self._of(name)) for part in parts}

    def _ratios(self, other: str) -> list[float]:
        """Compare within each round: what slows one round down slows both."""
        theirs = {turn.round: turn.drain.jobs_per_second for turn in self._of(other)}
        return [
            turn.drain.jobs_per_second / theirs[turn.round] for turn in self._of(OURS) if turn.round in theirs
        ]

    def _ratio(self, other: str) -> float | None:
        ratios = self._ratios(other)
        return statistics.median(ratios) if ratios else None


HEAD = "round   contender    jobs/s  pick-up p50/p95 ms  CPU ms a job"


def row(turn: Turn) -> str:
    """Give the line of a turn."""
    rate, pick_up = turn.drain.jobs_per_second, turn.pick_up
    return (
        f"{turn.round:<7} {_figures(turn.contender, rate, pick_up.p50, pick_up.p95, turn.drain.cpu_ms)}"
        f"; {turn.drain.jobs} jobs, others' cores {turn.drain.other_cores:.1f}"
    )


def machine() -> dict[str, str]:
    """Say what this ran on."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": str(usable),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _figures(name: str, rate: float, p50: float, p95: float, cpu_ms: Mapping[str, float]) -> str:
    cpu = f"{sum(cpu_ms.values()):.2f}: " + ", ".join(f"{part} {value:.2f}" for part, value in cpu_ms.items())
    return f"{name:<10} {rate:>8,.0f}  {f'{p50:.1f} / {p95:.1f}':>18}  {cpu}"


def _facts(title: str, facts: Mapping[str, str]) -> str:
    return f"{title}: " + "; ".join(f"{name} {value}" for name, value in facts.items())


def _verdict(goal: Goal) -> str:
    bound = f"{'>=' if goal.at_least else '<='} {goal.bound:g}"
    if goal.value is None:
        return f"not measured  {goal.name} {bound}"
    return f"{'met    ' if goal.met else 'not met'}  {goal.name} {bound}: {goal.value:.2f}"
