"""One run: a seed chooses what happens and when; afterwards everything is well again, and it is told how soon."""

import hashlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ground import Ground

from chaos import judge
from chaos.catalogue import CATALOGUE
from chaos.process import LOOPS
from chaos.trouble import Stop, Trouble
from chaos.world import BLOCK_S, Connections, World, begin

_BUSY_STEPS = 16
_MOST_STEPS = 120
_MOST_TROUBLES = 4
_LONGEST = 8
_WAKE_BLOCKS = 8
# A line that broke is made anew after a second, or a few.
_HEARS_WITHIN_S = 2
_MOST_TRIES = 8


@dataclass
class Recovery:
    """How long after a trouble's end it took until all that was sealed before was settled; None: never."""

    kind: str
    name: str
    blocks: int | None = None


@dataclass
class Report:
    """What came of a seed."""

    seed: int
    recoveries: list[Recovery] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    steps: int = 0

    @property
    def digest(self) -> str:
        """The hash of everything that the scheduler saw."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()


@dataclass
class _Planned:
    trouble: Trouble
    begins: int
    ends: int
    stop: Stop | None = None
    open_batches: frozenset[bytes] | None = None
    recovery: Recovery | None = None
    ended_at: int = 0


async def run(
    ground: Ground, opened: Connections, folder: Path, seed: int, only: Sequence[Trouble] | None = None
) -> Report:
    """Run a seed, or these troubles by its dice."""
    world = await begin(ground, opened, folder, seed)
    return await Run(world, seed, only).run()


class Run:
    """A world, and what happens in it. `only`: these troubles instead of those that the seed chooses."""

    def __init__(self, one: World, seed: int, only: Sequence[Trouble] | None) -> None:
        self._world = one
        self._report = Report(seed)
        self._random = one.random
        chosen = (
            self._random.sample(CATALOGUE, self._random.randint(1, _MOST_TROUBLES)) if only is None else only
        )
        self._plan = [self._planned(trouble) for trouble in chosen]
        for finality in one.finality:
            finality.depth = max([finality.depth, *(planned.trouble.depth for planned in self._plan)])
        self._blocks = 0

    def _planned(self, trouble: Trouble) -> _Planned:
        begins = self._random.randint(2, _BUSY_STEPS - 2)
        return _Planned(trouble, begins, begins + self._random.randint(1, _LONGEST))

    async def run(self) -> Report:
        async with AsyncExitStack() as lines:
            for process in self._world.processes:
                await lines.enter_async_context(process.listening())
            return await self._run()

    async def _run(self) -> Report:
        step = 0
        while step < _MOST_STEPS:
            await self._troubles(step)
            await self._world.operate()
            if step < _BUSY_STEPS and self._random.random() < 0.6:
                await self._world.finish_jobs(self._random.randint(1, 5))
            await self._passes(step)
            await self._world.pass_block()
            self._blocks += self._world.blocks_a_step
            await self._look(step)
            step += 1
            if step > _BUSY_STEPS and all(planned.ends < step for planned in self._plan):
                if self._world.finality[0].depth > _WAKE_BLOCKS:
                    self._world.blocks_a_step = _WAKE_BLOCKS
                if await judge.at_rest(self._world):
                    break
        else:
            self._report.flaws.append(f"it did not come to rest within {_MOST_STEPS} steps")
        if not await self._is_told_of_blocks():
            self._report.flaws.append("the leader is not told of new blocks any more")
        self._report.steps = step
        self._note(step, f"calls {[len(proxy.calls) for proxy in self._world.connections.proxies]}")
        asks = frozenset[str]().union(*(planned.trouble.asks for planned in self._plan))
        self._report.flaws += await judge.flaws(self._world, asks)
        return self._report

    async def _is_told_of_blocks(self) -> bool:
        """Whether the leader hears of a new block, or polling has its line made anew."""
        leader = self._world.leader
        for _ in range(_MOST_TRIES):
            leader.rung.clear()
            await self._world.pass_block()
            if await leader.hears(_HEARS_WITHIN_S):
                return True
            await leader.run("indexer")
        return False

    async def _troubles(self, step: int) -> None:
        for planned in self._plan:
            if planned.begins == step:
                self._note(step, f"begins: {planned.trouble.name}")
                planned.stop = await planned.trouble.start(self._world)
            if planned.ends == step or (planned.begins == step and planned.stop is None):
                if planned.recovery is not None:
                    continue
                if planned.stop is not None:
                    await planned.stop()
                self._note(step, f"ends: {planned.trouble.name}")
                await self._await_recovery(planned)

    async def _await_recovery(self, planned: _Planned) -> None:
        rows = await self._world.rows("SELECT root FROM batches WHERE state NOT IN ('final', 'needs_human')")
        planned.open_batches = frozenset(root for (root,) in rows)
        planned.recovery = Recovery(planned.trouble.kind, planned.trouble.name)
        planned.ended_at = self._blocks
        self._report.recoveries.append(planned.recovery)

    async def _passes(self, step: int) -> None:
        loops = self._random.sample(LOOPS, len(LOOPS))
        results = [f"{loop} {await self._world.leader.run(loop)}" for loop in loops]
        self._note(step, ", ".join(results))

    async def _look(self, step: int) -> None:
        """Note what stands in the database, and which troubles are overcome."""
        batches = await self._world.rows("SELECT root, state, reason FROM batches ORDER BY sealed_at, id")
        slots = await self._world.rows(
            "SELECT nonce, state, (SELECT count(*) FROM tx_attempts a WHERE a.chain_tx_id = t.id) "
            "FROM chain_txs t ORDER BY nonce"
        )
        self._note(step, " ".join(f"{state}:{reason}" if reason else state for _, state, reason in batches))
        self._note(step, " ".join(f"{nonce}={state}x{attempts}" for nonce, state, attempts in slots))
        settled = {root for root, state, _ in batches if state in ("final", "needs_human", "released")}
        for planned in self._plan:
            if planned.recovery is None or planned.recovery.blocks is not None:
                continue
            if planned.open_batches is not None and planned.open_batches <= settled:
                planned.recovery.blocks = self._blocks - planned.ended_at

    def _note(self, step: int, text: str) -> None:
        self._report.trace.append(f"{step:3} {text}")


def seconds(blocks: int) -> int:
    """The simulated time of so many blocks."""
    return blocks * BLOCK_S
