"""Runs of forge in a copy of the project."""

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Tests deploy contracts from their artifacts instead of holding their bytecode, so that a changed contract leaves the
# tests' own artifacts as they are; and nothing fails but what a test says: no warning, no amount of gas.
_ENVIRONMENT = {
    "FOUNDRY_DYNAMIC_TEST_LINKING": "true",
    "FOUNDRY_DENY": "never",
    "FORGE_SNAPSHOT_CHECK": "false",
    "FOUNDRY_GAS_LIMIT": str(2**31),  # an endless loop ends
}

# How hard fuzz and invariant tests try.
FULL: dict[str, str] = {}
QUICK = {"FOUNDRY_FUZZ_RUNS": "16", "FOUNDRY_INVARIANT_RUNS": "4", "FOUNDRY_INVARIANT_DEPTH": "32"}


@dataclass(frozen=True)
class Run:
    """What came of the tests: how many passed, the name of the first that failed, the seconds they took."""

    passed: int
    failed: str | None
    seconds: float


def build(folder: Path) -> dict[str, Any]:
    """Build a project that is not built yet; solc's input and output, with the syntax trees."""
    subprocess.run(
        ["forge", "build", "--build-info", "--ast", "--quiet"],  # noqa: S607 - the Makefile sets PATH
        cwd=folder,
        env=os.environ | _ENVIRONMENT,
        check=True,
    )
    (info,) = (folder / "out/build-info").iterdir()
    return dict(json.loads(info.read_text()))


def test(folder: Path, effort: dict[str, str], *, limit: float | None) -> Run:
    """Run the tests until one fails, on one thread, for at most `limit` seconds.

    Raises:
        subprocess.TimeoutExpired: they took longer.
        RuntimeError: forge could not run them.
    """
    for kept in ("fuzz", "invariant"):
        shutil.rmtree(folder / "cache" / kept, ignore_errors=True)  # another mutant's counterexamples
    begin = time.monotonic()
    process = subprocess.run(
        ["forge", "test", "--json", "--fail-fast", "--threads", "1"],  # noqa: S607 - the Makefile sets PATH
        cwd=folder,
        env=os.environ | _ENVIRONMENT | effort,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    try:
        suites = json.loads(process.stdout)
    except json.JSONDecodeError:
        raise RuntimeError(f"forge test in {folder}:\n{process.stdout}{process.stderr}") from None
    results = [
        (f"{suite}.{test.partition('(')[0]}", result["status"])
        for suite, report in suites.items()
        for test, result in report["test_results"].items()
    ]
    return Run(
        passed=sum(status == "Success" for _, status in results),
        failed=next((name for name, status in results if status == "Failure"), None),
        seconds=time.monotonic() - begin,
    )
