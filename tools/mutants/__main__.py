"""The command line: makes the mutants, tries them, and says what is to be mended."""

import argparse
import random
import sys
import time
from pathlib import Path

from mutants import explained, report
from mutants.generate import mutants_of
from mutants.project import Project
from mutants.run import run

_ROOT = Path(__file__).resolve().parents[2]
_PROGRESS_SECONDS = 30


def main(arguments: list[str], root: Path = _ROOT) -> int:
    """Do as the arguments say for the project at `root`; the exit status, 1 where something is to be mended."""
    parser = _parser()
    options = parser.parse_args(arguments)
    project = Project(root)
    reasons = explained.read(root / "test/contracts/mutants.toml")
    mutants = [mutant for source in project.sources for mutant in mutants_of(source)]
    chosen = [mutant for mutant in mutants if options.only in {None, mutant.path}]
    if not chosen:
        parser.error(f"there is nothing to mutate in {options.only or root}")
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))  # noqa: S311
    if options.list:
        _say(*(f"{mutant.path}:{mutant.line}: {mutant.name}" for mutant in chosen))
        return 0

    verdicts = {}
    spoken = time.monotonic()
    for mutant, verdict in run(project, chosen, options.workers):
        verdicts[mutant] = verdict
        if time.monotonic() - spoken > _PROGRESS_SECONDS:
            spoken = time.monotonic()
            _say(f"{len(verdicts)} of {len(chosen)} mutants tried")
    ordered = [(mutant, verdicts[mutant]) for mutant in mutants if mutant in verdicts]
    report.write(project.workplace / "verdicts.json", ordered, reasons)
    complaints = list(report.complaints(ordered, reasons, mutants))
    _say(report.table(ordered), *complaints)
    return 1 if complaints else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="PYTHONPATH=tools python -m mutants", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the mutants and try none")
    parser.add_argument(
        "--only", metavar="FILE", help="mutants of this file, for instance contracts/JobRegistry.sol"
    )
    parser.add_argument("--sample", metavar="N", type=int, help="N mutants, picked by --seed")
    parser.add_argument("--seed", metavar="S", default="0", help="any text")
    parser.add_argument("--workers", metavar="N", type=int, default=2, help="how many are tried at a time")
    return parser


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
