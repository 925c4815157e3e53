"""`python -m bench.soak SECONDS [--seed N]`: load and faults for a time, then the books must be sound.

Every second fault comes alone, when all is well, and is waited for; the others fall into what they find. Prints what it
broke and how long it was until all was well. The exit status is 1 where a job was lost, done twice or left behind, where
a process or a file stayed, or where the work did not recover.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from pydantic import SecretStr

from bench.soak import platform as soaked
from bench.soak import repository
from bench.soak.faults import FAULTS
from bench.soak.load import Client
from bench.soak.platform import Platform
from relayer.model.clock import utc_now
from relayer.model.errors import UnavailableError
from relayer.settings import DatabaseSettings
from relayer.store.database import Database

_CLIENTS_A_TENANT = 2
_BETWEEN_FAULTS_S = 2.0
_POLL_S = 0.1
# Long enough for every lease of a worker and of a loop to run out, and for the work that is left.
_SETTLE_S = 90.0


@dataclass(frozen=True)
class Broken:
    """Something that was broken: what, since when it works again, and whether all was well before."""

    what: str
    at: datetime
    is_alone: bool


def main() -> int:
    """Give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    say(f"seed {arguments.seed}")
    with (
        tempfile.TemporaryDirectory(prefix="jobseal-soak-") as folder,
        soaked.running(Path(folder)) as platform,
    ):
        return asyncio.run(_soak(platform, arguments.seconds, random.Random(arguments.seed)))  # noqa: S311  # chance, no secret


async def _soak(platform: Platform, seconds: float, chance: random.Random) -> int:
    stopping = asyncio.Event()
    clients = [
        Client(platform.api_url, key, random.Random(chance.random()))  # noqa: S311  # chance, no secret
        for key in platform.keys
        for _ in range(_CLIENTS_A_TENANT)
    ]
    load = [asyncio.create_task(client.run(stopping)) for client in clients]
    async with Database(DatabaseSettings(url=SecretStr(platform.owner_url), pool_size=2)) as db:
        broken = await _break_things(platform, db, seconds, chance)
        stopping.set()
        await asyncio.gather(*load)
        accepted = {job for client in clients for job in client.accepted}
        say(f"{len(accepted)} jobs accepted, {sum(client.repeated for client in clients)} requests repeated")
        took = await _settle(db)
        await asyncio.to_thread(platform.stop)
        flaws = await _audit(db, accepted)
        await _tell(db, broken, took)
    flaws += [f"left behind: {what}" for what in platform.leftovers()]
    for flaw in flaws:
        say(f"FLAW {flaw}")
    say("sound: nothing lost, nothing doubled, nothing left behind" if not flaws else f"{len(flaws)} flaws")
    return 1 if flaws else 0


async def _break_things(
    platform: Platform, db: Database, seconds: float, chance: random.Random
) -> list[Broken]:
    """Break one thing after the other, each kind once before any comes again, and every second one alone."""
    # What has not begun to work cannot be broken.
    await _until_whole(db, utc_now())
    end = time.monotonic() + seconds
    broken: list[Broken] = []
    left: list[int] = []
    is_alone = False
    while (rest := end - time.monotonic()) > 0:
        await asyncio.sleep(min(rest, chance.expovariate(1 / _BETWEEN_FAULTS_S)))
        left = left or chance.sample(range(len(FAULTS)), len(FAULTS))
        if is_alone:
            await _until_whole(db, utc_now())
        what = await asyncio.to_thread(FAULTS[left.pop()], platform, chance)
        broken.append(Broken(what, utc_now(), is_alone))
        say(f"{broken[-1].at:%H:%M:%S} {what}")
        if is_alone:
            await _until_whole(db, broken[-1].at)
        is_alone = not is_alone
    return broken


async def _until_whole(db: Database, since: datetime) -> None:
    """Wait until nothing is left of what was broken, for as long as it may take."""
    deadline = time.monotonic() + _SETTLE_S
    while time.monotonic() < deadline:
        with suppress(UnavailableError):
            async with db.transaction() as conn:
                if await repository.whole_at(conn, since) is not None:
                    return
        await asyncio.sleep(_POLL_S)


async def _settle(db: Database) -> float:
    """Wait until no job waits or runs; give the seconds it took."""
    started = time.monotonic()
    while time.monotonic() - started < _SETTLE_S:
        async with db.transaction() as conn:
            if await repository.count_open(conn) == 0:
                break
        await asyncio.sleep(_POLL_S)
    return time.monotonic() - started


async def _audit(db: Database, accepted: set[UUID]) -> list[str]:
    flaws = []
    async with db.transaction() as conn:
        lost = await repository.unknown(conn, accepted)
        flaws += [f"{len(lost)} accepted jobs have no row: {sorted(map(str, lost))[:3]}"] if lost else []
        for flaw, query in repository.FLAWS.items():
            found = await repository.flawed(conn, query)
            if found:
                flaws.append(f"{len(found)} jobs: each {flaw}: {sorted(map(str, found))[:3]}")
    return flaws


async def _tell(db: Database, broken: list[Broken], settled: float) -> None:
    async with db.transaction() as conn:
        for one in broken:
            at = await repository.whole_at(conn, one.at)
            took = "no job came after it" if at is None else f"{(at - one.at).total_seconds():6.2f} s"
            say(f"  {took}  after {one.what}{'' if one.is_alone else ', amid what was broken before'}")
        say(", ".join(f"{count} {name}" for name, count in (await repository.counts(conn)).items()))
    say(f"settled {settled:.1f} s after the last submission")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
