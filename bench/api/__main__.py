"""`python -m bench.api`: both applications by turns, then the platform at a steady rate; `.build/bench/api.{json,txt}`."""

import argparse
import json
import shutil
import sys

import uvloop

from bench.api import measure
from bench.api.applications import bare, jobseal
from bench.api.report import Report, row
from bench.engine import servers
from bench.engine.contender import ROOT
from relayer.model.errors import JobsealError

_OUTPUT = ROOT / ".build/bench"


def main() -> None:
    """Measure; the exit status says whether that worked, not how fast anything is."""
    parser = argparse.ArgumentParser(prog="python -m bench.api", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    chosen = parser.parse_args()
    if chosen.rounds < 1 or chosen.seconds <= 0:
        parser.error("at least one round and some time are needed")
    home = _OUTPUT / "api"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    report = Report()
    with servers.running(home / "servers") as stores:
        for number in range(1, chosen.rounds + 1):
            for start in (bare, jobseal):
                servers.settle(stores)
                with start(stores, home) as application:
                    turn = uvloop.run(measure.take_turn(application, stores, chosen.seconds))
                report.add(number, application.name, turn)
                _say(row(number, application.name, turn))
        servers.settle(stores)
        with jobseal(stores, home, engine=True) as application:
            report.steady = uvloop.run(measure.steady(application, stores, chosen.seconds))
        report.servers = servers.describe(stores)
    text = report.as_text()
    (_OUTPUT / "api.json").write_text(json.dumps(report.as_json(), indent=2) + "\n")
    (_OUTPUT / "api.txt").write_text(text + "\n")
    _say(f"\n{text}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except JobsealError as error:
        sys.exit(f"error: {error}")
