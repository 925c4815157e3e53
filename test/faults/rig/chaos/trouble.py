"""What a fault of a run is, and the list of all of them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaos.world import FINAL_AFTER, World

Stop = Callable[[], Awaitable[None]]
Start = Callable[[World], Awaitable[Stop | None]]
FAR = "reorg 64 deep"
DEEP = 66
"""How deep finality lies in a run in which a reorganisation goes so far."""


@dataclass(frozen=True)
class Trouble:
    """A fault of a run.

    Attributes:
        kind: its class: what it happens to.
        name: what happens.
        start: lets it happen; gives what ends it, or None where it ends by itself.
        asks: the reasons for which batches may wait for a human because of it.
        depth: how many blocks finality has to lie behind the head for the whole run.

    """

    kind: str
    name: str
    start: Start
    asks: frozenset[str] = frozenset()
    depth: int = FINAL_AFTER


TROUBLES: list[Trouble] = []


def trouble(kind: str, name: str, *asks: str, depth: int = FINAL_AFTER) -> Callable[[Start], Start]:
    """Put what a function lets happen on the list."""

    def add(start: Start) -> Start:
        TROUBLES.append(Trouble(kind, name, start, frozenset(asks), depth))
        return start

    return add
