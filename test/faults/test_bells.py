"""New blocks wake the real loops up, and where nobody tells of them, polling finds them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from chaos import judge
from chaos.process import LOOPS
from chaos.world import Connections, World, begin
from faultproxy.sockets import SocketServer
from ground import Ground
from prometheus_client import CollectorRegistry

from relayer import leading
from relayer.leading import Loop

NEVER = timedelta(hours=1)
SOON = timedelta(milliseconds=50)
_BLOCK_EVERY_S = 0.2
_WITHIN_S = 60


@pytest.fixture
async def world(
    deployed: Ground, opened: Connections, tmp_path: Path, empty: Callable[[], None]
) -> AsyncIterator[World]:
    empty()
    one = await begin(deployed, opened, tmp_path, 0)
    async with opened.owner.transaction() as conn:
        await conn.execute("DELETE FROM leases")
    async with one.leader.listening():
        yield one


@asynccontextmanager
async def running(world: World, indexer_rests: timedelta) -> AsyncIterator[None]:
    """Let the loops run by themselves, and blocks come; only a bell or its rest wakes the indexer up."""
    stopping = asyncio.Event()

    async def mine() -> None:
        while not stopping.is_set():
            await world.pass_block()
            await asyncio.sleep(_BLOCK_EVERY_S)

    bells = {"indexer": world.leader.rung}
    loops = [
        Loop(name, world.leader.pass_of(name), indexer_rests if name in bells else SOON, bell=bells.get(name))
        for name in LOOPS
    ]
    async with asyncio.TaskGroup() as group:
        group.create_task(leading.run(loops, world.connections.owner, "alone", stopping, CollectorRegistry()))
        group.create_task(mine())
        try:
            yield
        finally:
            stopping.set()


async def confirm(world: World) -> None:
    """Finish the jobs of a batch, and wait until they are confirmed."""
    await world.finish_jobs(4)
    async with asyncio.timeout(_WITHIN_S):
        while not await judge.at_rest(world):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(_BLOCK_EVERY_S)


async def test_rings_wake_the_indexer_up_through_what_happens_to_their_line(world: World) -> None:
    async with running(world, NEVER):
        await confirm(world)
        world.sockets.doubling = True
        await confirm(world)
        world.sockets.doubling = False
        for _ in range(2):
            world.sockets.drop()
            await confirm(world)
    assert world.sockets.opened >= 3
    assert await judge.flaws(world, frozenset()) == []


def refused(sockets: SocketServer) -> None:
    sockets.refusing = True
    sockets.drop()


def silent(sockets: SocketServer) -> None:
    sockets.silent = True


@pytest.mark.parametrize("fault", [refused, silent])
async def test_without_rings_polling_goes_on(world: World, fault: Callable[[SocketServer], None]) -> None:
    fault(world.sockets)
    async with running(world, SOON):
        await confirm(world)
    assert await judge.flaws(world, frozenset()) == []


async def test_a_line_that_fell_silent_is_made_anew_and_wakes_again(world: World) -> None:
    async with running(world, SOON):
        await confirm(world)
        world.sockets.stall()
        opened = world.sockets.opened
        async with asyncio.timeout(_WITHIN_S):
            while world.sockets.opened == opened:
                await confirm(world)
    async with running(world, NEVER):
        await confirm(world)
    assert await judge.flaws(world, frozenset()) == []
