"""Joins concurrent requests of one kind into one round trip: what comes while a trip is under way makes up the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from relayer.model.errors import UnavailableError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Run = Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]]


class Coalescer(Generic[Item, Answer]):
    """Takes items one by one and runs them in groups.

    Nobody waits for a timer: a lone item goes at once, and a group is what gathered while all lanes were busy. Whoever
    stops waiting before the item's group goes takes it back, unless items are kept; later nobody can.
    """

    def __init__(
        self,
        run: Run[Item, Answer],
        *,
        lanes: int = 1,
        most: int = 100,
        queue: int | None = 1_000,
        keep: bool = False,
    ) -> None:
        """Set up.

        Args:
            run: takes a group; gives for each item, in order, its answer or the error that it is refused with. What it
                raises is the error of all.
            lanes: how many groups may be under way.
            most: how many items a group may have.
            queue: how many items may wait for a group; None where what bounds the askers bounds them.
            keep: items go with their groups even where nobody waits for them any more.

        """
        self._run = run
        self._most = most
        self._queue = queue
        self._keep = keep
        self._idle_lanes = lanes
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, item: Item) -> Answer:
        """Give an item's answer.

        Raises:
            UnavailableError: too many items wait already.
            Exception: what the item was refused with.

        """
        if self._queue is not None and len(self._waiting) >= self._queue:
            # Those whose askers have left wait for nothing.
            self._waiting = [one for one in self._waiting if not one[1].done()]
            if len(self._waiting) >= self._queue:
                raise UnavailableError(f"{self._queue} requests of this kind wait already; try again later")
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
                asked = [one for one in self._waiting if self._keep or not one[1].done()]
                group, self._waiting = asked[: self._most], asked[self._most :]
                if group:
                    await self._answer(group)
        finally:
            self._idle_lanes += 1

    async def _answer(self, group: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._run([item for item, _ in group])
            answered = list(zip(group, answers, strict=True))
        except Exception as error:  # noqa: BLE001 - it is whoever waits that handles it
            answered = [(one, error) for one in group]
        for (_, future), answer in answered:
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
