"""Joins concurrent requests of one kind into one round trip: what comes while a trip is under way makes up the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Run = Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]]


class Coalescer(Generic[Item, Answer]):
    """Takes items one by one and runs them in groups.

    Nobody waits for a timer: a lone item goes at once, and a group is what gathered while all lanes were busy. Whoever
    stops waiting for an answer does not take the item back.
    """

    def __init__(self, run: Run[Item, Answer], *, lanes: int = 1, most: int = 100) -> None:
        """Set up.

        Args:
            run: takes a group; gives for each item, in order, its answer or the error that it is refused with. What it
                raises is the error of all.
            lanes: how many groups may be under way.
            most: how many items a group may have.

        """
        self._run = run
        self._most = most
        self._idle_lanes = lanes
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, item: Item) -> Answer:
        """Give an item's answer.

        Raises:
            Exception: what the item was refused with.

        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._idle_lanes:
            self._idle_lanes -= 1
            task = asyncio.create_task(self._work())
            # The loop itself holds tasks weakly.
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await answer

    async def _work(self) -> None:
        """Run groups until nothing waits."""
        try:
            while self._waiting:
                group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._answer(group)
        finally:
            self._idle_lanes += 1

    async def _answer(self, group: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._run([item for item, _ in group])
        except Exception as error:  # noqa: BLE001 - it is whoever waits that handles it
            answers = [error] * len(group)
        for (_, future), answer in zip(group, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
