"""When a fault strikes: for some methods only, so many times, or now and then by a seeded choice."""

from collections.abc import Collection
from random import Random

from faultproxy.calls import Answer, Call, Fault, Forward


class Only:
    """A fault that strikes calls of some methods only.

    Args:
        fault: the fault.
        methods: what it strikes.
        skip: how many calls are spared first.
        times: how many are struck; None for all.

    """

    def __init__(self, fault: Fault, *methods: str, skip: int = 0, times: int | None = None) -> None:
        self._fault = fault
        self._methods: Collection[str] = methods
        self._skip = skip
        self._times = times
        self.struck = 0

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        if call.method not in self._methods:
            return await forward(call)
        if self._skip > 0:
            self._skip -= 1
            return await forward(call)
        if self._times is not None and self.struck >= self._times:
            return await forward(call)
        self.struck += 1
        return await self._fault(call, forward)


class Sometimes:
    """A fault that strikes a share of the calls; which ones, a seed decides."""

    def __init__(self, fault: Fault, share: float, random: Random) -> None:
        self._fault = fault
        self._share = share
        self._random = random

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        if self._random.random() < self._share:
            return await self._fault(call, forward)
        return await forward(call)
