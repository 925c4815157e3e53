"""Whose turn it is: deficit round robin over tenants (Shreedhar, Varghese 1995), every job at the cost of one.

A tenant's quantum is its weight, whatever number of kinds and priorities its jobs are spread over. No input or
output: what the database knows goes in, what is to be written comes out.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True)
class Turn:
    """A tenant's place in the ring.

    Attributes:
        weight: how many jobs it may have for each round.
        deficit: what is left of its last quantum.
        allowance: how many more jobs its cap lets it have.

    """

    tenant_id: UUID
    weight: int
    deficit: int
    allowance: int


@dataclass(frozen=True)
class Waiting:
    """A job that waits and is due; a suspect lost a worker before, and may have been why."""

    tenant_id: UUID
    kind: str
    priority: int
    job_id: UUID
    run_at: datetime
    is_suspect: bool = False


@dataclass(frozen=True)
class Deal:
    """Whose jobs go next, in order, and where the ring stands afterwards.

    `moved` are tenants that go to the ring's end, in this order; the others that were served keep their place.
    `deficits` holds what is left of the quantum of every tenant that was served.
    """

    chosen: list[Waiting]
    moved: list[UUID]
    deficits: dict[UUID, int]


def share(ring: Sequence[Turn], room: int) -> list[int]:
    """Give how many waiting jobs of each tenant one deal can use, at most about `room` in all.

    A tenant that could have more, because others have less, gets it with the next deal.
    """
    total = sum(turn.weight for turn in ring)
    return [min(turn.allowance, turn.deficit + turn.weight * (1 + room // total)) for turn in ring]


def deal(ring: Sequence[Turn], waiting: Sequence[Waiting], room: int, kind_room: Mapping[str, int]) -> Deal:
    """Choose up to `room` jobs, tenant after tenant.

    Args:
        ring: the tenants in the order of their turns.
        waiting: jobs of theirs; a tenant's own go by priority, then by time.
        room: how many may be chosen.
        kind_room: how many of a kind may be chosen, for the kinds that have a cap.

    """
    queues: dict[UUID, deque[Waiting]] = {turn.tenant_id: deque() for turn in ring}
    for one in sorted(waiting, key=lambda one: (one.priority, one.run_at, one.job_id)):
        queues[one.tenant_id].append(one)
    rooms = dict(kind_room)
    allowances = {turn.tenant_id: turn.allowance for turn in ring}
    deficits: dict[UUID, int] = {}
    chosen: list[Waiting] = []
    served: list[UUID] = []
    turns = deque(ring)
    while turns and len(chosen) < room:
        turn = turns.popleft()
        tenant = turn.tenant_id
        before = deficits.get(tenant, turn.deficit)
        # A quantum that was cut short by a full window is finished first; every visit after that brings a new one.
        credit = before or turn.weight
        taken = _take(queues[tenant], min(credit, allowances[tenant], room - len(chosen)), rooms, chosen)
        allowances[tenant] -= taken
        has_more = bool(queues[tenant]) and allowances[tenant] > 0
        deficits[tenant] = credit - taken if has_more else 0
        if deficits[tenant] and len(chosen) == room:
            break
        deficits[tenant] = 0
        served = [one for one in served if one != tenant] + [tenant]
        if has_more:
            turns.append(turn)
    return Deal(chosen, served, deficits)


def _take(queue: deque[Waiting], limit: int, rooms: dict[str, int], chosen: list[Waiting]) -> int:
    """Move up to `limit` jobs from a tenant's queue to the chosen ones; what its kind has no room for is dropped."""
    taken = 0
    while queue and taken < limit:
        one = queue.popleft()
        left = rooms.get(one.kind)
        if left == 0:
            continue
        if left is not None:
            rooms[one.kind] = left - 1
        chosen.append(one)
        taken += 1
    return taken
