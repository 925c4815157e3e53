"""What comes while a group is under way goes together, and everybody gets an answer of their own."""

import asyncio
from collections.abc import Sequence

import pytest

from relayer.model.errors import UnavailableError
from relayer.store.coalescer import Coalescer


class Trips:
    """Runs groups when it is told to; doubles numbers, refuses 13, breaks down at 99."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()

    async def run(self, group: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(group))
        await self.gate.wait()
        if 99 in group:
            raise ConnectionError("away")
        return [ValueError("refused") if number == 13 else 2 * number for number in group]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_lone_item_goes_at_once_and_those_behind_it_together() -> None:
    trips = Trips()
    join = Coalescer[int, int](trips.run, most=3)
    asked = [asyncio.create_task(join(1))]
    await settle()
    asked += [asyncio.create_task(join(number)) for number in range(2, 7)]
    await settle()
    assert trips.groups == [[1]]
    trips.gate.set()
    assert await asyncio.gather(*asked) == [2, 4, 6, 8, 10, 12]
    assert trips.groups == [[1], [2, 3, 4], [5, 6]]


async def test_as_many_groups_are_under_way_as_there_are_lanes() -> None:
    trips = Trips()
    join = Coalescer[int, int](trips.run, lanes=2)
    asked = []
    for number in range(1, 5):
        asked.append(asyncio.create_task(join(number)))
        await settle()
    assert trips.groups == [[1], [2]]
    trips.gate.set()
    await asyncio.gather(*asked)
    assert trips.groups == [[1], [2], [3, 4]]


async def test_a_refusal_is_of_one_and_a_breakdown_of_its_group() -> None:
    trips = Trips()
    trips.gate.set()
    join = Coalescer[int, int](trips.run, most=2)
    answers = await asyncio.gather(*map(join, [13, 1, 99, 2, 3]), return_exceptions=True)
    assert [repr(one) for one in answers] == [
        "ValueError('refused')",
        "2",
        "ConnectionError('away')",
        "ConnectionError('away')",
        "6",
    ]
    assert await join(4) == 8


async def test_whoever_stops_waiting_in_time_takes_the_item_back() -> None:
    trips = Trips()
    join = Coalescer[int, int](trips.run)
    first = asyncio.create_task(join(1))
    await settle()
    second, third = (asyncio.create_task(join(number)) for number in (2, 3))
    await settle()
    first.cancel()
    second.cancel()
    await settle()
    trips.gate.set()
    assert await third == 6
    assert trips.groups == [[1], [3]]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_no_more_wait_than_may_and_those_who_left_do_not_count() -> None:
    trips = Trips()
    join = Coalescer[int, int](trips.run, queue=2)
    asked = [asyncio.create_task(join(1))]
    await settle()
    asked += [asyncio.create_task(join(number)) for number in (2, 3)]
    await settle()
    with pytest.raises(UnavailableError, match="2 requests"):
        await join(4)
    asked.pop().cancel()
    await settle()
    asked.append(asyncio.create_task(join(5)))
    await settle()
    trips.gate.set()
    assert await asyncio.gather(*asked) == [2, 4, 10]


async def test_a_run_that_answers_too_few_answers_all_with_an_error() -> None:
    async def run(group: Sequence[int]) -> Sequence[int | Exception]:
        return list(group)[1:]

    with pytest.raises(ValueError, match="shorter"):
        await asyncio.wait_for(Coalescer[int, int](run)(1), 20)
