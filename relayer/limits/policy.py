"""Rates as values, and GCRA, the arithmetic that holds them.

The generic cell rate algorithm (ITU-T I.371) keeps one number a subject: the moment until which its use is paid off at
the sustained rate, the theoretical arrival time. How far that lies ahead of the clock is the debt. A request is
accepted where its units still fit under the burst; it then pushes the moment ahead by `interval` a unit.

Times are whole microseconds. A clock that jumps, in either direction, gives or costs a subject at most one burst:
nobody's debt may exceed what one request can make.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Policy:
    """A rate: a unit every `interval` microseconds, `burst` units at once from rest.

    A request of more units than the burst is accepted from rest alone and paid off like any other, so that the sustained
    rate holds for it as well; `most` bounds the units of a request. Where it is not given, it is the burst.
    """

    name: str
    interval: int
    burst: int
    most: int = 0

    def __post_init__(self) -> None:
        if self.interval < 1 or self.burst < 1:
            raise ValueError(f"the policy {self.name} needs an interval and a burst of at least 1")

    @classmethod
    def per_minute(cls, name: str, units: int, burst: int, most: int = 0) -> "Policy":
        """Make a policy of a rate a minute; rounding never refuses whoever keeps to the rate."""
        return cls(name, max(1, 60 * MICROSECONDS // units), burst, most)

    @property
    def capacity(self) -> int:
        """How far ahead the burst reaches."""
        return self.interval * self.burst

    @property
    def furthest(self) -> int:
        """How far ahead any request can push."""
        return self.interval * max(self.burst, self.most)

    @property
    def window_seconds(self) -> int:
        """In how many seconds an empty burst is whole again, rounded up."""
        return -(-self.capacity // MICROSECONDS)


@dataclass(frozen=True, slots=True)
class Charge:
    """Units of a policy that a subject would use; none: asks whether one could be used, and uses none.

    `paid`: units that the same request was charged before. They count as its own when more than the burst wants rest,
    and are charged anew when it is tried again.
    """

    policy: Policy
    subject: str
    units: int = 1
    paid: int = 0
    key: str = field(init=False)
    """Where the subject's number lies."""
    numbers: tuple[int, ...] = field(init=False)
    """What the script is told of it, ready for the many requests that are charged the same."""

    def __post_init__(self) -> None:
        policy = self.policy
        object.__setattr__(self, "key", f"jobseal:limit:{policy.name}:{self.subject}")
        numbers = (policy.interval, policy.capacity, policy.furthest, self.needs, self.units)
        object.__setattr__(self, "numbers", numbers)

    @property
    def needs(self) -> int:
        """How many units have to be free."""
        return min(max(self.units, 1), max(self.policy.burst - self.paid, 0))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a subject stands to a policy after a request; `ahead` is its debt in microseconds."""

    charge: Charge
    allowed: bool
    ahead: int

    @property
    def remaining(self) -> int:
        """How many units are free."""
        policy = self.charge.policy
        return max(0, (policy.capacity - self.ahead) // policy.interval)

    @property
    def reset(self) -> int:
        """In how many microseconds the burst is whole."""
        return self.ahead

    @property
    def retry_after(self) -> int:
        """In how many microseconds the same request would be accepted; 0 where it was."""
        if self.allowed:
            return 0
        policy = self.charge.policy
        needs = self.charge.needs + self.charge.paid
        return self.ahead + needs * policy.interval - policy.capacity


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a request: how it stands to each of its policies.

    `is_local` where this process judged alone, because the store that all share is away.
    """

    standings: tuple[Standing, ...]
    is_local: bool = False

    @property
    def allowed(self) -> bool:
        """Whether every policy allowed it; otherwise nothing was used of any."""
        return all(standing.allowed for standing in self.standings)

    @property
    def violated(self) -> tuple[Standing, ...]:
        """The policies that refused it."""
        return tuple(standing for standing in self.standings if not standing.allowed)

    @property
    def retry_after(self) -> int:
        """In how many microseconds no policy would refuse it."""
        return max((standing.retry_after for standing in self.standings), default=0)


def judge(
    charges: Sequence[Charge], arrivals: Sequence[int | None], now: int
) -> tuple[Verdict, list[int | None]]:
    """Judge a request by the theoretical arrival times of its subjects, all policies or none.

    The script `gcra.lua` does the same where all processes share the numbers.

    Returns:
        The verdict, and the arrival times that it changes; None for those that stay.

    """
    debts = [0 if arrival is None else arrival - now for arrival in arrivals]
    ahead = [min(max(debt, 0), charge.policy.furthest) for charge, debt in zip(charges, debts, strict=True)]
    allowed = [
        debt + charge.needs * charge.policy.interval <= charge.policy.capacity
        for charge, debt in zip(charges, ahead, strict=True)
    ]
    used = [charge.units if all(allowed) else 0 for charge in charges]
    ahead = [
        debt + units * charge.policy.interval
        for charge, debt, units in zip(charges, ahead, used, strict=True)
    ]
    changed = [
        now + after if units or before > charge.policy.furthest else None
        for charge, before, after, units in zip(charges, debts, ahead, used, strict=True)
    ]
    return Verdict(tuple(map(Standing, charges, allowed, ahead))), changed
