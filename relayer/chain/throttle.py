"""Providers that refuse because they were asked too much: how they say it, and how long to leave them alone."""

import re
import time

from relayer.model.breaker import Monotonic

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0

# HTTP's own number, and those that providers took from EIP-1474's "limit exceeded". The latter are also given for a
# range of logs that is too wide, which waiting does not mend: the words decide.
_CODES = {429, -32005, -32029, -32097}
_TOO_MANY = re.compile(
    r"too many requests|request(s)? (rate|limit|count)|rate limit|throttl|capacity|throughput|compute unit|"
    r"(per|a|every) (second|minute|day)|daily|quota"
)


def says_too_many(code: object, message: str) -> bool:
    """Whether an error of JSON-RPC means that fewer requests are wanted."""
    return code in _CODES and bool(code == 429 or _TOO_MANY.search(message.lower()))


class Throttle:
    """Until when a node wants to be left alone: what it says, else twice as long after every refusal in a row."""

    def __init__(self, clock: Monotonic = time.monotonic) -> None:
        self._clock = clock
        self._until = clock()
        self._pause_s = _FIRST_PAUSE_S

    @property
    def seconds(self) -> float:
        """How long it still is to be left alone; 0 when it may be asked."""
        return max(0.0, self._until - self._clock())

    def refused(self, retry_after: str | None = None) -> None:
        """Note a refusal; `retry_after` as the header of that name gives it (RFC 9110), of which seconds are read."""
        wish = float(retry_after) if retry_after is not None and retry_after.isdigit() else self._pause_s
        self._until = self._clock() + min(wish, _LONGEST_PAUSE_S)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def passed(self) -> None:
        """Note an answer."""
        self._pause_s = _FIRST_PAUSE_S
