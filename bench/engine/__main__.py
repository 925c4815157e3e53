"""`python -m bench.engine`: starts the servers, runs the rounds, writes `.build/bench/engine.{json,txt}`."""

import argparse
import json
import shutil
import sys

from bench.engine import servers
from bench.engine.campaign import CONTENDERS, Plan, run
from bench.engine.contender import ROOT
from bench.engine.marks import CountError
from bench.engine.report import HEAD, Report, row
from relayer.model.errors import JobsealError

_OUTPUT = ROOT / ".build/bench"
_BACKLOGS = {"rq": 1_500, "celery": 5_000, "jobseal": 5_000}


def main() -> None:
    """Measure; the exit status says whether that worked, not how fast anything is."""
    plan = _plan()
    home = _OUTPUT / "engine"
    shutil.rmtree(home / "turns", ignore_errors=True)
    with servers.running(home / "servers") as stores:
        _say(HEAD)
        turns = run(plan, stores, home / "turns", lambda turn: _say(row(turn)))
        report = Report(turns, servers.describe(stores))
    text = report.as_text()
    (_OUTPUT / "engine.json").write_text(json.dumps(report.as_json(), indent=2) + "\n")
    (_OUTPUT / "engine.txt").write_text(text + "\n")
    _say(f"\n{text}")


def _plan() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lone", type=int, default=100, help="lone jobs a turn")
    for name in CONTENDERS:
        parser.add_argument(
            f"--{name}",
            type=int,
            default=_BACKLOGS[name],
            metavar="JOBS",
            help="its backlog; 0 leaves it out",
        )
    chosen = vars(parser.parse_args())
    backlogs = {name: chosen[name] for name in CONTENDERS if chosen[name] > 0}
    if chosen["rounds"] < 1 or chosen["lone"] < 1 or not backlogs:
        parser.error("at least one round, one lone job and one contender are needed")
    return Plan(chosen["rounds"], chosen["lone"], backlogs)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except (JobsealError, CountError) as error:
        sys.exit(f"error: {error}")
