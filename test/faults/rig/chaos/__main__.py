"""`python -m chaos --seeds N --start S [--workers W] [--reports FILE]`: run seeds, and print how soon each fault was overcome.

The exit status is 1 where a seed ended with a flaw; `--seeds 1 --start S` repeats it, and prints its trace. The file keeps
every report as soon as it is there: what stands in it is not run again, and is part of what is printed.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import structlog
import uvloop
from ground import Ground, ground

from chaos.reports import append, read
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
    parser.add_argument("--reports", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jobseal-chaos-") as folder:
        file = arguments.reports or Path(folder) / "reports"
        kept = {report.seed for report in read(file)}
        seeds = [
            seed for seed in range(arguments.start, arguments.start + arguments.seeds) if seed not in kept
        ]
        _campaign(seeds, arguments.workers, file)
        reports = sorted(read(file), key=lambda report: report.seed)
    if len(reports) == 1:
        say("\n".join(reports[0].trace))
    say(table(reports))
    return int(any(one.flaws for one in reports))


def _campaign(seeds: Sequence[int], workers: int, file: Path) -> None:
    """Run seeds side by side, each worker with servers of its own."""
    shares = [seeds[number::workers] for number in range(min(workers, len(seeds)))]
    if shares:
        with ProcessPoolExecutor(len(shares)) as pool:
            list(pool.map(_work, shares, [file] * len(shares)))


def _work(seeds: Sequence[int], file: Path) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory(prefix="jobseal-chaos-") as name:
        folder = Path(name)
        with store(folder) as database, ground(folder) as here:
            uvloop.run(_runs(seeds, database, here, folder, file))


async def _runs(seeds: Sequence[int], database: Store, here: Ground, folder: Path, file: Path) -> None:
    async with connections(here, database.owner, database.relayer) as opened:
        for seed in seeds:
            database.empty()
            try:
                report = await run(here, opened, folder / str(seed), seed)
            except Exception as error:  # noqa: BLE001 - the other seeds are run all the same
                report = Report(seed, flaws=[f"it broke off: {error!r}"])
            for flaw in report.flaws:
                say(f"seed {seed}: {flaw}")
            append(file, report)


def say(text: str) -> None:
    """Print at once: a campaign is long."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
