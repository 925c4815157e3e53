"""Turns at something of which there are only so many, in the order of arrival."""

import asyncio
from collections import deque

from relayer.model.errors import UnavailableError


class Gate:
    """Lets `places` in at once. So many may wait, and for so long; whoever comes on top of them is refused at once.

    Args:
        places: how many may be inside.
        most_waiting: how many may wait.
        longest_wait: for how many seconds.
        refusal: what those are told who cannot come in.

    """

    def __init__(self, places: int, *, most_waiting: int, longest_wait: float, refusal: str) -> None:
        self._free = places
        self._most_waiting = most_waiting
        self._longest_wait = longest_wait
        self._refusal = refusal
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Come in; every entry is followed by `leave`.

        Raises:
            UnavailableError: too many wait, it takes too long, or those who waited were sent away.

        """
        if self._free > 0:
            self._free -= 1
            return
        if len(self._waiting) >= self._most_waiting:
            raise UnavailableError(self._refusal)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._longest_wait):
                await turn
        except TimeoutError:
            self._give_up(turn)
            raise UnavailableError(self._refusal) from None
        except asyncio.CancelledError:
            self._give_up(turn)
            raise

    def leave(self) -> None:
        """Make room for the next."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def send_away(self, reason: str) -> None:
        """Refuse all who wait."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(UnavailableError(reason))

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        """Leave the queue, or pass on a turn that came at the last moment."""
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            self.leave()
        elif turn in self._waiting:
            self._waiting.remove(turn)
