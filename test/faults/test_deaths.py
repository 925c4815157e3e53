"""The chain side may be killed after every effect: the next process brings every batch on chain once."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from chaos import judge
from chaos.process import LOOPS
from chaos.world import Connections, World, begin
from deaths.scenes import PLAYS
from ground import Ground

from relayer.local.anvil import CHAIN_ID
from relayer.store import registries

ROOT = Path(__file__).resolve().parents[2]
RIG = ROOT / "test/faults/rig"
_MOST_TURNS = 60

EFFECTS: dict[str, list[str]] = {
    "plain": [
        "batcher.Batcher._keep commits",
        "batcher.Batcher._write_manifest keeps manifests",
        "batcher.Batcher.run_pass commits",
        "head_follower.HeadFollower._keep commits",
        "head_watch.HeadWatch.at_head commits",
        "indexer.Indexer._apply commits",
        "indexer.Indexer._cursor commits",
        "opening.Opening._price commits",
        "opening.Opening._reserve commits",
        "opening.Opening.open commits",
        "posting.Posting._send commits",
        "posting.Posting.sign_and_send commits",
        "providers.Providers._hand sends",
        "second_scan.SecondScan.run commits",
        "sender.Sender.run_pass commits",
        "settling.Settling._succeeded commits",
    ],
    "stuck": ["opening.Opening._missing commits"],
    "reorganised": ["settling.Settling._drop commits"],
    "paused": [],
    "reverted": ["settling.Settling._settle commits"],
    "confirmed by another": [],
    "key used elsewhere": [],
}
"""Every effect of the chain side, under the first scene that leads through it."""


@dataclass
class Company:
    """The process whose children die, and the folder of its blobs."""

    process: asyncio.subprocess.Process
    folder: Path


@dataclass
class Stage:
    """Where scenes are played, in a process that dies, and brought to their end, in this one."""

    ground: Ground
    opened: Connections
    company: Company
    empty: Callable[[], None]

    async def play(self, scene: str, effect: str | None = None, time: int = 1) -> list[str]:
        """Play a scene, up to an effect or to its end; give the effects that were made."""
        self.empty()
        await begin(self.ground, self.opened, self.company.folder, 0)
        assert self.company.process.stdin is not None
        assert self.company.process.stdout is not None
        self.company.process.stdin.write(f"{json.dumps([scene, effect, time])}\n".encode())
        answer = await asyncio.wait_for(self.company.process.stdout.readline(), 120)
        ended, made = json.loads(answer)
        assert ended == ("done" if effect is None else "killed"), f"{ended} after {made}"
        return list(made)

    async def require_finished(self, asks: frozenset[str]) -> None:
        """Let another process take over and bring everything to its end; a pause that is there or comes is ended."""
        world = await self._heir()
        for _ in range(_MOST_TURNS):
            await world.operate()
            for loop in LOOPS:
                await world.leader.run(loop)
            await world.pass_block()
            if await judge.at_rest(world):
                assert await judge.flaws(world, asks) == []
                return
        pytest.fail("it does not come to rest")

    async def _heir(self) -> World:
        """Another process, an hour later."""
        async with self.opened.owner.transaction() as conn:
            registry = await registries.find(conn, CHAIN_ID, self.ground.registry)
        assert registry is not None
        world = World(self.ground, self.opened, registry, self.company.folder, Random(1))  # noqa: S311 - no secret
        world.clock.now += timedelta(hours=1)
        ((world.tickets,),) = await world.rows("SELECT count(*) FROM jobs")
        await world.leader.lead()
        return world


@pytest.fixture(scope="session")
async def company(
    deployed: Ground, postgres_urls: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Company]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deaths.dying"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{RIG}{os.pathsep}{ROOT}"},
    )
    folder = tmp_path_factory.mktemp("blobs")
    where = {
        "url": deployed.url,
        "registry": deployed.registry.hex(),
        "first_block": deployed.first_block,
        "keystore": str(deployed.keystore),
        "password_file": str(deployed.password_file),
        "owner": postgres_urls.owner,
        "relayer": postgres_urls.relayer,
        "folder": str(folder),
    }
    assert process.stdin is not None
    process.stdin.write(f"{json.dumps(where)}\n".encode())
    yield Company(process, folder)
    process.stdin.close()
    await process.wait()


@pytest.fixture
def stage(deployed: Ground, opened: Connections, company: Company, empty: Callable[[], None]) -> Stage:
    return Stage(deployed, opened, company, empty)


async def test_every_effect_is_known(stage: Stage) -> None:
    """An effect that is new has to be added to the list, so that somebody dies after it."""
    made: dict[str, list[str]] = {}
    for scene in PLAYS:
        seen = await stage.play(scene)
        told = {name for names in made.values() for name in names}
        made[scene] = sorted(set(seen) - told)
    assert made == EFFECTS, f"made: {json.dumps(made)}"


@pytest.mark.parametrize(
    ("scene", "effect"), [(scene, name) for scene, names in EFFECTS.items() for name in names]
)
async def test_a_death_after_an_effect_loses_nothing(stage: Stage, scene: str, effect: str) -> None:
    made = await stage.play(scene, effect)
    assert made[-1] == effect
    await stage.require_finished(PLAYS[scene].asks)


@pytest.mark.campaign
@pytest.mark.parametrize("scene", PLAYS)
async def test_a_death_after_any_effect_loses_nothing(stage: Stage, scene: str) -> None:
    made = await stage.play(scene)
    await stage.require_finished(PLAYS[scene].asks)
    for number, effect in enumerate(made, start=1):
        assert await stage.play(scene, effect, made[:number].count(effect)) == made[:number]
        await stage.require_finished(PLAYS[scene].asks)
