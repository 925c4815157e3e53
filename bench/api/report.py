"""What the turns add up to: medians of ratios, and whether each goal is met; as JSON and as text."""

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from bench.api.load import Load
from bench.api.measure import STEADY_PER_SECOND
from bench.engine.report import Goal, machine

OURS, THEIRS = "jobseal", "bare"


class Report:
    """The report of one run."""

    def __init__(self) -> None:
        self.steady: Load | None = None
        self.servers: Mapping[str, str] = {}
        self._turns: dict[str, dict[int, Mapping[str, Load]]] = {OURS: {}, THEIRS: {}}

    def add(self, number: int, name: str, loads: Mapping[str, Load]) -> None:
        """Take in a turn."""
        self._turns[name][number] = loads

    def goals(self) -> list[Goal]:
        """Give the goals of docs/reference/benchmarks.md."""
        submit_p95 = self._ratio("submit", lambda load: load.percentile(0.95, "submit"))
        goals = [
            Goal("submissions, times bare", self._ratio("submit", _rate), 1.0, at_least=True),
            Goal("submissions p95, times bare", submit_p95, 1.5, at_least=False),
            Goal("reads of ended jobs, times bare", self._ratio("read", _rate), 3.0, at_least=True),
        ]
        if self.steady is not None:
            for kind, share, bound in (
                ("submit", 0.95, 100.0),
                ("submit", 0.99, 250.0),
                ("read", 0.95, 50.0),
            ):
                name = f"{kind} p{share * 100:.0f} at {STEADY_PER_SECOND} requests/s, ms"
                goals.append(Goal(name, self.steady.percentile(share, kind), bound, at_least=False))
        return goals

    def as_json(self) -> dict[str, Any]:
        """Give everything."""
        return {
            "machine": machine(),
            "servers": dict(self.servers),
            "turns": [
                {"application": name, "round": number, "kind": kind, **_figures(load, kind)}
                for name, turns in self._turns.items()
                for number, loads in turns.items()
                for kind, load in loads.items()
            ],
            "steady": None
            if self.steady is None
            else {kind: _figures(self.steady, kind) for kind in self.steady.ms},
            "goals": [vars(goal) | {"met": goal.met} for goal in self.goals()],
        }

    def as_text(self) -> str:
        """Give the goals, a line each."""
        return "\n".join(
            f"{goal.name:42} {goal.value or 0:8.2f}  {'>=' if goal.at_least else '<='} {goal.bound:<6g} "
            f"{'met' if goal.met else 'NOT MET'}"
            for goal in self.goals()
        )

    def _ratio(self, kind: str, figure: Callable[[Load], float]) -> float:
        """Give the median of what Jobseal's figure is to the bare one of the same round."""
        return statistics.median(
            figure(loads[kind]) / figure(self._turns[THEIRS][number][kind])
            for number, loads in self._turns[OURS].items()
        )


def row(number: int, name: str, loads: Mapping[str, Load]) -> str:
    """Write a turn as a line."""
    parts = [
        f"{kind} {load.per_second:8,.0f}/s p50 {load.percentile(0.5, kind):6.1f} p95 {load.percentile(0.95, kind):6.1f} ms"
        for kind, load in loads.items()
    ]
    return f"{number}  {name:8} {'   '.join(parts)}"


def _rate(load: Load) -> float:
    return load.per_second


def _figures(load: Load, kind: str) -> dict[str, Any]:
    return {
        "requests": len(load.ms[kind]),
        "per_second": len(load.ms[kind]) / load.seconds,
        **{f"p{share * 100:g}_ms": load.percentile(share, kind) for share in (0.5, 0.95, 0.99)},
    }
