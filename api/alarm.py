"""A time limit of a task that is moved often and rarely met: moving it costs an assignment, not a timer."""

import asyncio
import math


class Alarm:
    """Cancels the task that made it when its time has come; times are those of the event loop."""

    def __init__(self, when: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._when = when
        self._rings = 0
        self._others = task.cancelling()
        self._arm()

    def move(self, when: float) -> None:
        """Ring at another time."""
        self._when = when
        # The timer looks again when it goes off; only what is sooner needs another one.
        if when < self._armed_for:
            self._timer.cancel()
            self._arm()

    def was_it(self) -> bool:
        """Whether the cancellation at hand is this alarm's and nobody else's; it rings again only when it is moved.

        It is never that of another task which the alarm's own awaits: that one was cancelled by whoever runs it.
        """
        if not self._rings or asyncio.current_task() is not self._task:
            return False
        for _ in range(self._rings):
            self._task.uncancel()
        self._rings = 0
        return self._task.cancelling() <= self._others

    def stop(self) -> None:
        """Never ring again."""
        self._timer.cancel()

    def _arm(self) -> None:
        self._armed_for = self._when
        self._timer = self._loop.call_at(self._when, self._look)

    def _look(self) -> None:
        if self._loop.time() < self._when:
            self._arm()
            return
        self._armed_for = math.inf
        self._rings += 1
        self._task.cancel()
