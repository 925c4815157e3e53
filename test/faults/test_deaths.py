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
        "batcher.Batcher._write_manifest keeps manifests",
        "batcher.Batcher.run_pass commits",
        "indexer.Indexer._apply commits",
        "indexer.Indexer.run_pass commits",
        "sender.Sender._answered commits",
        "sender.Sender._send sends",
        "sender.Sender._send_new commits",
        "sender.Sender._sign_and_send commits",
        "sender.Sender._succeeded commits",
        "sender.Sender.run_pass commits",
    ],
    "stuck": [],
    "reorganised": ["sender.Sender._drop commits"],
    "paused": [],
    "reverted": ["sender.Sender._failed commits"],
    "confirmed by another": [],
    "key used elsewhere": ["sender.Sender._missing commits"],
}
"""Every effect of the chain side, under the first scene that leads through it."""


@dataclass
class Stage:
    """Where scenes are played, in a process that dies, and brought to their end, in this one."""

    ground: Ground
    opened: Connections
    folder: Path
    company: asyncio.subprocess.Process

    async def play(self, scene: str, effect: str | None = None, time: int = 1) -> list[str]:
        """Play a scene up to an effect, and let another process take over; give the effects that were made."""
        await begin(self.ground, self.opened, self.folder, 0)
        ended, made = await self._ask(scene, effect, time)
        assert ended == ("done" if effect is None else "killed"), f"{ended} after {made}"
        world = await self._heir()
        flaws = await self._finish(world, PLAYS[scene].asks)
        assert flaws == [], f"after {made}"
        return made

    async def _ask(self, scene: str, effect: str | None, time: int) -> tuple[str, list[str]]:
        assert self.company.stdin is not None
        assert self.company.stdout is not None
        self.company.stdin.write(f"{json.dumps([scene, effect, time])}\n".encode())
        answer = await asyncio.wait_for(self.company.stdout.readline(), 120)
        ended, made = json.loads(answer)
        return ended, made

    async def _heir(self) -> World:
        """Another process, an hour later, on a chain that is not paused any more."""
        async with self.opened.owner.transaction() as conn:
            registry = await registries.find(conn, CHAIN_ID, self.ground.registry)
        assert registry is not None
        world = World(self.ground, self.opened, registry, self.folder, Random(1))  # noqa: S311 - no secret
        world.clock.now += timedelta(hours=1)
        ((world.tickets,),) = await world.rows("SELECT count(*) FROM jobs")
        if await world.client.paused():
            await world.chain.administer("unpause()")
        await world.leader.lead()
        return world

    async def _finish(self, world: World, asks: frozenset[str]) -> list[str]:
        for _ in range(_MOST_TURNS):
            for loop in LOOPS:
                await world.leader.run(loop)
            await world.pass_block()
            if await judge.at_rest(world):
                return await judge.flaws(world, asks)
        return ["it does not come to rest"]


@pytest.fixture
async def stage(here: Ground, opened: Connections, urls: Any, tmp_path: Path) -> AsyncIterator[Stage]:
    company = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deaths.dying"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{RIG}{os.pathsep}{ROOT}"},
    )
    assert company.stdin is not None
    where = {
        "url": here.url,
        "registry": here.registry.hex(),
        "first_block": here.first_block,
        "keystore": str(here.keystore),
        "password_file": str(here.password_file),
        "ours": here.ours.hex(),
        "theirs": here.theirs.hex(),
        "owner": urls.owner,
        "relayer": urls.relayer,
        "folder": str(tmp_path),
    }
    company.stdin.write(f"{json.dumps(where)}\n".encode())
    yield Stage(here, opened, tmp_path, company)
    company.stdin.close()
    await company.wait()


async def test_every_effect_is_known(stage: Stage, empty: Callable[[], None]) -> None:
    """An effect that is new has to be added to the list, so that somebody dies after it."""
    known = {name for names in EFFECTS.values() for name in names}
    made: dict[str, list[str]] = {}
    for scene in PLAYS:
        empty()
        seen = await stage.play(scene)
        told = {name for names in made.values() for name in names}
        made[scene] = sorted(set(seen) - told)
    assert made == EFFECTS, f"new: {sorted({name for names in made.values() for name in names} - known)}"


@pytest.mark.parametrize(
    ("scene", "effect"), [(scene, name) for scene, names in EFFECTS.items() for name in names]
)
async def test_a_death_after_an_effect_loses_nothing(stage: Stage, scene: str, effect: str) -> None:
    made = await stage.play(scene, effect)
    assert made[-1] == effect


@pytest.mark.campaign
@pytest.mark.parametrize("scene", PLAYS)
async def test_a_death_after_any_effect_loses_nothing(
    stage: Stage, empty: Callable[[], None], scene: str
) -> None:
    made = await stage.play(scene)
    for number, effect in enumerate(made):
        empty()
        assert await stage.play(scene, effect, made[: number + 1].count(effect)) == made[: number + 1]
