"""`python -m bench.api`: both applications by turns, and `.build/bench/api.{json,txt}`."""

import argparse
import random
import shutil
import statistics
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import uvloop
from psycopg import AsyncConnection

from bench.api import repository
from bench.api.applications import Application, bare, jobseal
from bench.api.load import Load, closed_loop
from bench.engine import servers
from bench.engine.contender import ROOT
from bench.engine.servers import Stores
from relayer.model.errors import JobsealError
from relayer.model.ids import to_public

_OUTPUT = ROOT / ".build/bench"
_CONNECTIONS = 64
_READ = 500

Start = Callable[[Stores, Path], AbstractContextManager[Application]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.api")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    chosen = parser.parse_args()
    home = _OUTPUT / "api"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    rows: dict[tuple[str, str], list[Load]] = {}
    with servers.running(home / "servers") as stores:
        for _ in range(chosen.rounds):
            for name, start in (("bare", bare), ("jobseal", jobseal)):
                servers.settle(stores)
                with start(stores, home) as application:
                    for kind, load in uvloop.run(turn(application, stores, chosen.seconds)):
                        rows.setdefault((name, kind), []).append(load)
                        print(
                            f"{name:8} {kind:7} {load.per_second:8,.0f}/s  p50 {load.percentile(0.5, kind):6.1f}"
                            f"  p95 {load.percentile(0.95, kind):6.1f}  p99 {load.percentile(0.99, kind):6.1f} ms"
                            f"  {dict(load.statuses)}",
                            flush=True,
                        )
    for kind in ("submit", "read"):
        theirs, ours = rows["bare", kind], rows["jobseal", kind]
        ratio = statistics.median(o.per_second / t.per_second for o, t in zip(ours, theirs, strict=True))
        p95 = statistics.median(
            o.percentile(0.95, kind) / t.percentile(0.95, kind) for o, t in zip(ours, theirs, strict=True)
        )
        print(f"{kind}: {ratio:.2f} x the bare throughput, {p95:.2f} x its p95")


async def turn(application: Application, stores: Stores, seconds: float) -> list[tuple[str, Load]]:
    """Measure one application that runs."""
    await closed_loop(application.port, "warm", application.submission, connections=_CONNECTIONS, seconds=2)
    submit = await closed_loop(
        application.port, "submit", application.submission, connections=_CONNECTIONS, seconds=seconds
    )
    async with await AsyncConnection.connect(stores.owner_url, autocommit=True) as conn:
        if application.tenant is None:
            ids = [str(one) for one in await repository.bare_jobs(conn, _READ)]
        else:
            ids = [
                to_public("job", one)
                for one in await repository.cancelled_jobs(conn, application.tenant, _READ)
            ]
    choose = random.Random(1)
    read = await closed_loop(
        application.port,
        "read",
        lambda: application.read(choose.choice(ids)),
        connections=_CONNECTIONS,
        seconds=seconds,
    )
    return [("submit", submit), ("read", read)]


if __name__ == "__main__":
    try:
        main()
    except JobsealError as error:
        sys.exit(f"error: {error}")
