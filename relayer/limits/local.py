"""The limits of one process by itself, for while the store that all processes share is away."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from relayer.limits.policy import MICROSECONDS, Charge, Verdict, judge

_MOST_SUBJECTS = 100_000


def monotonic_microseconds() -> int:
    """Give the time of this process."""
    return int(time.monotonic() * MICROSECONDS)


class LocalLimiter:
    """Judges by numbers in memory; of too many subjects those are forgotten that came the longest ago."""

    def __init__(self, clock: Callable[[], int] = monotonic_microseconds, most: int = _MOST_SUBJECTS) -> None:
        self._clock = clock
        self._most = most
        self._arrivals: OrderedDict[str, int] = OrderedDict()

    def check(self, charges: Sequence[Charge]) -> Verdict:
        """Judge a request by all of its policies."""
        keys = [charge.key for charge in charges]
        verdict, arrivals = judge(charges, [self._arrivals.get(key) for key in keys], self._clock())
        for key, arrival in zip(keys, arrivals, strict=True):
            if arrival is not None:
                self._arrivals[key] = arrival
                self._arrivals.move_to_end(key)
        while len(self._arrivals) > self._most:
            self._arrivals.popitem(last=False)
        return replace(verdict, is_local=True)
