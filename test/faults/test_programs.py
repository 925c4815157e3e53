"""Two programs `jobseal relayer` before nodes that misbehave: whoever leads is killed, and everything is confirmed once."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from chaos import judge
from chaos.process import LOOPS
from chaos.world import Connections, World, begin
from faultproxy.answers import SEND, Lose
from faultproxy.calls import Loss
from faultproxy.scope import Only, Sometimes
from ground import Ground

from relayer.app import CHAIN_LOOPS
from relayer.local.anvil import CHAIN_ID
from relayer.local.process import ServerProcess
from relayer.model.clock import utc_now

ROOT = Path(__file__).resolve().parents[2]
_BLOCK_EVERY_S = 0.25
_WITHIN_S = 90
_LOOK_EVERY_S = 0.1


class Company:
    """The programs, and the world that they work on."""

    def __init__(self, world: World, relayer_url: str) -> None:
        self.world = world
        proxies = world.connections.proxies
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "JOBSEAL_DATABASE_URL": relayer_url,
            "JOBSEAL_REGISTRY_CHAIN_ID": str(CHAIN_ID),
            "JOBSEAL_REGISTRY_ADDRESS": f"0x{world.ground.registry.hex()}",
            "JOBSEAL_BLOBS_FOLDER": str(world.folder),
            "JOBSEAL_BATCHER_MANIFEST_KEY": "07" * 32,
            "JOBSEAL_BATCHER_MAX_AGE": "PT0.5S",
            "JOBSEAL_CHAIN_RPC_URLS": ",".join(proxy.url for proxy in proxies),
            "JOBSEAL_CHAIN_WS_URLS": ",".join(proxy.sockets.url for proxy in proxies),
            "JOBSEAL_CHAIN_REQUEST_TIMEOUT": "PT3S",
            "JOBSEAL_CHAIN_KEYSTORE": str(world.ground.keystore),
            "JOBSEAL_CHAIN_KEYSTORE_PASSWORD_FILE": str(world.ground.password_file),
        }
        loops = [word for loop in CHAIN_LOOPS for word in ("--only", loop)]
        self.programs = [
            ServerProcess(
                f"jobseal relayer {name}",
                [sys.executable, "-m", "relayer.cli.main", "relayer", *loops],
                log=world.folder.parent / f"relayer-{name}.log",
                env=env,
            )
            for name in "AB"
        ]

    async def leader(self, loop: str) -> ServerProcess:
        """Wait for one of the programs to lead a loop, and give it."""
        async with asyncio.timeout(_WITHIN_S):
            while True:
                for (owner,) in await self.world.rows(
                    "SELECT owner FROM leases WHERE name = %s AND expires_at > clock_timestamp()", loop
                ):
                    pid = int(owner.split("/")[1])
                    for program in self.programs:
                        if program.pid == pid and program.alive:
                            return program
                await asyncio.sleep(_LOOK_EVERY_S)

    async def end_leases(self, pid: int) -> None:
        """Let the leases of a dead program be over."""
        async with self.world.connections.owner.transaction() as conn:
            await conn.execute(
                "UPDATE leases SET expires_at = '-infinity' WHERE split_part(owner, '/', 2) = %s", [str(pid)]
            )

    async def finish_jobs(self, count: int) -> None:
        self.world.clock.now = utc_now()
        await self.world.finish_jobs(count)

    async def rest(self) -> None:
        async with asyncio.timeout(_WITHIN_S):
            while not await judge.at_rest(self.world):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(_LOOK_EVERY_S)


@pytest.fixture
async def company(
    deployed: Ground, opened: Connections, postgres_urls: Any, tmp_path: Path, empty: Callable[[], None]
) -> AsyncIterator[Company]:
    empty()
    world = await begin(deployed, opened, tmp_path, 0)
    for proxy in opened.proxies:
        proxy.faults.clear()
    async with opened.owner.transaction() as conn:
        await conn.execute("DELETE FROM leases")
    one = Company(world, postgres_urls.relayer)
    try:
        for program in one.programs:
            program.start()
        async with blocks(world):
            yield one
    finally:
        await asyncio.gather(*(asyncio.to_thread(program.stop) for program in one.programs))


@asynccontextmanager
async def blocks(world: World) -> AsyncIterator[None]:
    async def make() -> None:
        while True:
            await world.chain.mine(1, 1)
            await asyncio.sleep(_BLOCK_EVERY_S)

    making = asyncio.create_task(make())
    try:
        yield
    finally:
        making.cancel()


async def misfortune(world: World, random: Random) -> None:
    """Lose the reply to the next transaction, and cut or silence the lines that tell of blocks."""
    for proxy in world.connections.proxies:
        loss = random.choice([Loss.CLOSED, Loss.BAD_GATEWAY, Loss.TRUNCATED])
        proxy.faults[:] = [
            Only(Lose(loss), SEND, times=1),
            Sometimes(Lose(Loss.CLOSED, before=True), 0.02, random),
        ]
        random.choice([proxy.sockets.drop, proxy.sockets.stall])()


async def kill_leaders(company: Company, loops: Sequence[str], random: Random, *, end_leases: bool) -> None:
    """Kill whoever leads these loops, one after the other, at moments that the seed chooses."""
    for loop in loops:
        await misfortune(company.world, random)
        await company.finish_jobs(random.randint(2, 9))
        leader = await company.leader(loop)
        await asyncio.sleep(random.random())
        pid = leader.pid
        assert pid is not None
        leader.kill()
        assert leader.exit_status == -9
        if end_leases:
            await company.end_leases(pid)
        leader.start()
    for proxy in company.world.connections.proxies:
        proxy.faults.clear()


async def require_all_well(company: Company) -> None:
    await company.rest()
    assert await judge.flaws(company.world, frozenset()) == []


async def test_leaders_are_killed_and_everything_is_confirmed_once(company: Company) -> None:
    """What waits for a dead leader's lease is not waited for here."""
    await kill_leaders(company, ["sender", "indexer", "sender"], Random(1), end_leases=True)  # noqa: S311 - no secret
    await require_all_well(company)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(3))
async def test_many_leaders_are_killed_in_their_own_time(company: Company, seed: int) -> None:
    """Blocks are reorganised as well, and dead leaders are followed when their leases are over."""
    random = Random(seed)  # noqa: S311 - no secret
    for _ in range(4):
        await kill_leaders(company, random.choices(LOOPS, k=2), random, end_leases=False)
        await company.world.chain.reorganise(1)
    await require_all_well(company)
