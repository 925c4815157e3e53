"""The limits that all processes hold together: every policy of a request in one round trip, many requests in one."""

from collections.abc import Callable, Sequence
from importlib.resources import files
from itertools import islice

import orjson

from relayer.limits.local import LocalLimiter
from relayer.limits.policy import Charge, Standing, Verdict
from relayer.limits.store import Script, SharedStore
from relayer.store.coalescer import Coalescer

# The script runs to its end before the server answers anybody else: about a millisecond at this size.
_MOST_AT_ONCE = 256


class Limiter:
    """Judges requests by their policies, all or none.

    The clock is the server's, one for all processes. While the server is away each process judges by itself; its
    verdicts then say so.

    Args:
        store: where the numbers lie.
        clock: gives microseconds in place of the server's clock.
        local: judges while the store is away.

    """

    def __init__(
        self,
        store: SharedStore,
        *,
        clock: Callable[[], int] | None = None,
        local: LocalLimiter | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._local = local or LocalLimiter()
        self._gcra = Script(files("relayer.limits").joinpath("gcra.lua").read_text("utf-8"))
        self._together = Coalescer[Sequence[Charge], Verdict](
            self.check_many, most=_MOST_AT_ONCE, queue=None, keep=True
        )

    async def check(self, charges: Sequence[Charge]) -> Verdict:
        """Judge one request; those that wait at the same time share a round trip.

        The request is charged whether or not somebody still waits for the verdict.
        """
        return await self._together(charges)

    async def check_many(self, requests: Sequence[Sequence[Charge]]) -> list[Verdict]:
        """Judge requests one after the other, in one round trip.

        No request names a subject of a policy twice.
        """
        if not requests:
            return []
        keys = [charge.key for request in requests for charge in request]
        numbers: list[int] = []
        for request in requests:
            numbers.append(len(request))
            for charge in request:
                numbers += charge.numbers
        # One argument: the client takes its time over each.
        args = ["" if self._clock is None else self._clock(), orjson.dumps(numbers)]
        answer = await self._store.ask(lambda redis: self._gcra(redis, keys, args))
        if answer is None:
            return [self._local.check(request) for request in requests]
        standings = iter(zip(answer[::2], answer[1::2], strict=True))
        return [
            Verdict(
                tuple(
                    Standing(charge, bool(allowed), ahead)
                    for charge, (allowed, ahead) in zip(request, islice(standings, len(request)), strict=True)
                )
            )
            for request in requests
        ]
