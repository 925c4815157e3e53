import asyncio

import pytest

from relayer.model.errors import UnavailableError
from relayer.store.gate import Gate


def gate(places: int = 1, most_waiting: int = 2, longest_wait: float = 5.0) -> Gate:
    return Gate(places, most_waiting=most_waiting, longest_wait=longest_wait, refusal="full")


async def waiting(at: Gate, count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(at.enter()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_turns_come_in_the_order_of_arrival_and_one_too_many_is_refused_at_once() -> None:
    at = gate()
    await at.enter()
    first, second = await waiting(at, 2)
    with pytest.raises(UnavailableError, match="full"):
        await at.enter()
    at.leave()
    await first
    assert not second.done()
    at.leave()
    await second
    at.leave()
    await at.enter()


async def test_whoever_gives_up_leaves_its_turn_to_others() -> None:
    at = gate(longest_wait=0.01)
    await at.enter()
    (late,) = await waiting(at, 1)
    with pytest.raises(UnavailableError, match="full"):
        await late
    assert at.waiting == 0
    at = gate()
    await at.enter()
    first, second = await waiting(at, 2)
    # Its turn comes and it is cancelled in the same moment.
    at.leave()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert at.waiting == 0


async def test_all_who_wait_can_be_sent_away() -> None:
    at = gate()
    await at.enter()
    tasks = await waiting(at, 2)
    at.send_away("gone")
    for task in tasks:
        with pytest.raises(UnavailableError, match="gone"):
            await task
    at.leave()
    await at.enter()
