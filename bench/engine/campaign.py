"""Rounds in which every contender takes its turn, in another order each time, so that drift hits all alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.engine import servers
from bench.engine.contender import Contender
from bench.engine.contenders.celery import Celery
from bench.engine.contenders.jobseal import Jobseal
from bench.engine.contenders.rq import Rq
from bench.engine.measure import Turn, take_turn
from bench.engine.servers import Stores

CONTENDERS: Mapping[str, type[Contender]] = {one.name: one for one in (Rq, Celery, Jobseal)}


@dataclass(frozen=True)
class Plan:
    """How much is measured: rounds, lone jobs a turn, and the backlog of each contender that takes part."""

    rounds: int
    lone: int
    backlogs: Mapping[str, int]


def run(plan: Plan, stores: Stores, home: Path, tell: Callable[[Turn], None]) -> list[Turn]:
    """Run every turn; `tell` hears of each when it is over.

    Logs and marks of a turn lie below `home`, which is a new folder.
    """
    turns = []
    for number in range(plan.rounds):
        for name in _rotated(list(plan.backlogs), number):
            folder = home / f"{number + 1}-{name}"
            folder.mkdir(parents=True)
            servers.settle(stores)
            with CONTENDERS[name](stores, folder) as contender:
                turn = take_turn(contender, number + 1, lone=plan.lone, jobs=plan.backlogs[name])
            turns.append(turn)
            tell(turn)
    return turns


def _rotated(names: Sequence[str], by: int) -> list[str]:
    start = by % len(names)
    return [*names[start:], *names[:start]]
