"""`python -m chaos --seeds N --start S [--workers W] [--json FILE]`: run seeds, and print how soon each fault was overcome.

The exit status is 1 where a seed ended with a flaw; `--seeds 1 --start S` repeats it, and prints its trace.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import structlog
from ground import Ground, ground

from chaos.run import Report, run
from chaos.store import Store, store
from chaos.table import table
from chaos.world import connections


def main() -> int:
    """Give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m chaos")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    seeds = range(arguments.start, arguments.start + arguments.seeds)
    reports = list(_campaign(seeds, arguments.workers))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(one) for one in reports], indent=1))
    if len(reports) == 1:
        say("\n".join(reports[0].trace))
    say(table(reports))
    return int(any(one.flaws for one in reports))


def _campaign(seeds: Sequence[int], workers: int) -> Iterator[Report]:
    """Run seeds side by side, each worker with servers of its own."""
    shares = [seeds[number::workers] for number in range(min(workers, len(seeds)))]
    with ProcessPoolExecutor(len(shares)) as pool:
        found = [report for share in pool.map(_work, shares) for report in share]
    yield from sorted(found, key=lambda report: report.seed)


def _work(seeds: Sequence[int]) -> list[Report]:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory(prefix="jobseal-chaos-") as name:
        folder = Path(name)
        with store(folder) as database, ground(folder) as here:
            return asyncio.run(_runs(seeds, database, here, folder))


async def _runs(seeds: Sequence[int], database: Store, here: Ground, folder: Path) -> list[Report]:
    reports = []
    async with connections(here, database.owner, database.relayer) as opened:
        for seed in seeds:
            database.empty()
            report = await run(here, opened, folder / str(seed), seed)
            for flaw in report.flaws:
                say(f"seed {seed}: {flaw}")
            reports.append(report)
    return reports


def say(text: str) -> None:
    """Print at once: a campaign is long."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
