"""A circuit breaker: what went away is left alone for a while, and asked by one before it is asked by all.

Closed, everything passes. After `threshold` failures in a row it opens: nothing passes. When `rest` seconds are over,
one caller passes (half-open): its success closes the breaker, its failure opens it anew.
"""

import time
from collections.abc import Callable
from enum import Enum

Monotonic = Callable[[], float]


class BreakerState(Enum):
    """Where a breaker stands; the value is what the metric shows."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2

    @property
    def slug(self) -> str:
        """The state as health and logs name it."""
        return self.name.lower()


class Breaker:
    """The breaker of one downstream. It belongs to one event loop, and does no input or output."""

    def __init__(
        self, name: str, *, threshold: int = 1, rest: float = 1.0, clock: Monotonic = time.monotonic
    ) -> None:
        self.name = name
        self._threshold = threshold
        self._rest = rest
        self._clock = clock
        self._state = BreakerState.CLOSED
        self._failures = 0
        self._since = clock()
        self._listeners: list[Callable[[bool], None]] = []
        self._was_closed = True

    @property
    def state(self) -> BreakerState:
        """Where it stands."""
        return self._state

    @property
    def is_closed(self) -> bool:
        """Whether everything passes."""
        return self._state is BreakerState.CLOSED

    @property
    def seconds_to_probe(self) -> float:
        """How long nobody passes for certain."""
        return 0.0 if self.is_closed else max(0.0, self._since + self._rest - self._clock())

    def allows(self) -> bool:
        """Whether a caller may pass; whoever passes says how it went. A probe that never says is followed by another."""
        if self.is_closed:
            return True
        if self.seconds_to_probe > 0:
            return False
        self._move(BreakerState.HALF_OPEN)
        return True

    def succeeded(self) -> None:
        """Note that the downstream answered."""
        self._failures = 0
        if not self.is_closed:
            self._move(BreakerState.CLOSED)

    def failed(self) -> None:
        """Note that the downstream did not answer."""
        self._failures += 1
        if self._state is BreakerState.HALF_OPEN or (self.is_closed and self._failures >= self._threshold):
            self._move(BreakerState.OPEN)

    def listen(self, listener: Callable[[bool], None]) -> None:
        """Call `listener` with False when it opens, and with True when it closes again."""
        self._listeners.append(listener)

    def _move(self, state: BreakerState) -> None:
        self._state = state
        self._since = self._clock()
        if self.is_closed is not self._was_closed:
            self._was_closed = self.is_closed
            for listener in self._listeners:
                listener(self.is_closed)
