"""Plays a scene again and again in a process that is killed after one of its effects.

`python -m deaths.dying` reads from its standard input where it is (the first line, JSON), and then lines of a scene and an
effect: `["plain", "sender.Sender._send sends", 1]`, or null for none. For each it forks; the child plays the scene and gets
SIGKILL, from itself, right after the effect of that name was made for the so-manieth time. It answers with the list of
effects that were made, in JSON.
"""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import structlog
from chaos.life import Life
from chaos.world import World, connections
from ground import Ground

from deaths.scenes import PLAYS
from relayer.local.anvil import CHAIN_ID
from relayer.store import registries


def seen_until(effect: str | None, time: int, told: int) -> Life:
    """Give a life that tells of its effects, and ends after one of them."""
    times: Counter[str] = Counter()

    def seen(name: str) -> None:
        os.write(told, f"{name}\n".encode())
        times[name] += 1
        if name == effect and times[name] == time:
            os.kill(os.getpid(), signal.SIGKILL)

    return Life(seen, skips_reads=True)


async def play(where: dict[str, Any], scene: str, life: Life) -> None:
    ground = Ground(
        url=where["url"],
        registry=bytes.fromhex(where["registry"]),
        first_block=where["first_block"],
        keystore=Path(where["keystore"]),
        password_file=Path(where["password_file"]),
    )
    async with connections(ground, where["owner"], where["relayer"]) as opened:
        async with opened.owner.transaction() as conn:
            registry = await registries.find(conn, CHAIN_ID, ground.registry)
        assert registry is not None
        world = World(ground, opened, registry, Path(where["folder"]), Random(0))  # noqa: S311 - no secret
        await world.leader.lead()
        world.leader.live(life)
        await PLAYS[scene].scene(world)


def main() -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    where = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        scene, effect, time = json.loads(line)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            asyncio.run(play(where, scene, seen_until(effect, time, write)))
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as names:
            made = names.read().splitlines()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        end = "killed" if killed else "done" if status == 0 else "failed"
        print(json.dumps([end, made]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
