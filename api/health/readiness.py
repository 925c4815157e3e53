"""Whether the parts answer that the process cannot serve without."""

import time
from collections.abc import Awaitable, Callable, Mapping

from relayer.model.errors import UnavailableError
from relayer.store.shared_look import SharedLook

LIFETIME_S = 0.1

Part = dict[str, str]


class Readiness:
    """Looks for everybody who asks at a time, at most ten times a second: to ask is open to all, and has no limit.

    A limit would be one more thing that could make a load balancer take out a process that serves.
    """

    def __init__(
        self,
        checks: Mapping[str, Callable[[], Awaitable[object]]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = checks
        self._monotonic = monotonic
        self._share = SharedLook[None, dict[str, Part]]()
        self._seen: dict[str, Part] = {}
        self._until = 0.0

    async def __call__(self) -> dict[str, Part]:
        """Say of each part whether it is ready, and if not, why and at which address."""
        if self._monotonic() >= self._until:
            self._seen = await self._share(None, self._look)
            self._until = self._monotonic() + LIFETIME_S
        return self._seen

    async def _look(self) -> dict[str, Part]:
        return {name: await _part(check) for name, check in self._checks.items()}


async def _part(check: Callable[[], Awaitable[object]]) -> Part:
    try:
        await check()
    except UnavailableError as error:
        return {"status": "not_ready", "reason": str(error)}
    return {"status": "ready"}
