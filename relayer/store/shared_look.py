"""Lets all who want to know the same at the same moment ask once."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Seen = TypeVar("Seen")


class SharedLook(Generic[Key, Seen]):
    """Gives what a look finds to everybody who asks while it is under way; it goes on when its first asker leaves."""

    def __init__(self) -> None:
        self._looking: dict[Key, asyncio.Task[Seen]] = {}

    async def __call__(self, key: Key, look: Callable[[], Coroutine[Any, Any, Seen]]) -> Seen:
        """Look for the value of a key, or wait for the look that is under way.

        Raises:
            Exception: what the look raised.

        """
        task = self._looking.get(key)
        if task is None:
            task = self._looking[key] = asyncio.create_task(look())
            task.add_done_callback(lambda done: self._end(key, done))
        return await asyncio.shield(task)

    def _end(self, key: Key, task: asyncio.Task[Seen]) -> None:
        del self._looking[key]
        if not task.cancelled():
            # Nobody may be left to hear of it.
            task.exception()
