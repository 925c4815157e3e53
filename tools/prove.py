# noqa: INP001 - a script, not part of a package
"""Proves what ``test/contracts/symbolic`` states of the registry, and that none of it is empty.

First halmos decides every check on the contract as it is: each must hold on every path, with no loop cut short. Then each
guard of ``guards.toml`` is taken out of a copy of the contract: there halmos must refute the checks that hang on it.
Every check must hang on a guard.

``tools/prove.py`` does both; ``tools/prove.py NAME…`` only decides the checks of these names, and
``tools/prove.py --without GUARD…`` only takes out these guards, named as in ``guards.toml``.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROOFS = Path("test/contracts/symbolic")
BUILD = ROOT / ".build/symbolic"
HALMOS = ROOT / ".tools/verify/bin/halmos"

HOLDS = "holds"
REFUTED = "refuted"
OUTCOMES = [HOLDS, REFUTED, "undecided", "stuck", "always reverts", "error"]  # by halmos's exit code


@dataclass(frozen=True)
class Verdict:
    """What halmos found of a check, after how many paths and seconds."""

    outcome: str
    paths: int
    seconds: float

    @classmethod
    def of(cls, result: dict[str, Any]) -> "Verdict":
        """From an entry of halmos's JSON."""
        outcome = OUTCOMES[result["exitcode"]]
        if outcome == HOLDS and result["num_bounded_loops"] != 0:
            outcome = "loop cut short"
        return cls(outcome, (result["num_paths"] or [0])[0], (result["time"] or [0])[0])


def decide(root: Path, checks: set[str], expected: str, *options: str) -> bool:
    """Whether all of ``checks`` come out as expected on the contracts under ``root``. Prints a line for each."""
    verdicts = run_halmos(root, checks, *options)
    for name in sorted(checks):
        verdict = verdicts.get(name, Verdict("missing", 0, 0))
        cost = f" ({verdict.paths} paths, {verdict.seconds:.0f} s)" if verdict.paths else ""
        say(f"  {verdict.outcome:8} {name}{cost}")
    return all(name in verdicts and verdicts[name].outcome == expected for name in checks)


def run_halmos(root: Path, checks: set[str], *options: str) -> dict[str, Verdict]:
    """The verdicts on ``checks``, by name.

    Raises:
        SystemExit: if halmos did not come to its end.
    """
    answer = BUILD / "verdicts.json"
    answer.parent.mkdir(parents=True, exist_ok=True)
    answer.unlink(missing_ok=True)
    command = [str(HALMOS), "--root", str(root), "--config", str(root / PROOFS / "halmos.toml")]
    command += ["--match-contract", "Proof$", "--match-test", rf"^({'|'.join(sorted(checks))})\("]
    command += ["--json-output", str(answer), *options]
    environment = os.environ | {"FOUNDRY_PROFILE": "symbolic", "FOUNDRY_DENY": "never"}
    run = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    (BUILD / "halmos.log").write_text(run.stdout + run.stderr)
    if not answer.exists():
        sys.exit(f"halmos ended with status {run.returncode}:\n{run.stdout}{run.stderr}")
    contracts = json.loads(answer.read_text())["test_results"].values()
    return {result["name"].split("(")[0]: Verdict.of(result) for results in contracts for result in results}


def refute(mutants: list[dict[str, Any]]) -> bool:
    """Whether the checks that hang on a guard are refuted where it is taken out, for each of ``mutants``."""
    is_refuted = True
    for mutant in mutants:
        say(f"Without the guard that {mutant['guard']}:")
        copy = copy_without(mutant)
        is_refuted &= decide(copy, set(mutant["refutes"]), REFUTED, "--early-exit", "--minimal-json-output")
    return is_refuted


def are_guarded(checks: set[str], mutants: list[dict[str, Any]]) -> bool:
    """Whether each of ``checks`` hangs on a guard. Prints a line for each that does not."""
    unguarded = checks.difference(*(mutant["refutes"] for mutant in mutants))
    for name in sorted(unguarded):
        say(f"No guard is named that {name} hangs on.")
    return not unguarded


def named(guards: list[str], mutants: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of ``mutants`` that take out ``guards``.

    Raises:
        SystemExit: if there is no such guard.
    """
    unknown = set(guards).difference(mutant["guard"] for mutant in mutants)
    if unknown or not guards:
        sys.exit(f"guards.toml does not name {sorted(unknown)}" if unknown else "no guard is named")
    return [mutant for mutant in mutants if mutant["guard"] in guards]


def copy_without(mutant: dict[str, Any]) -> Path:
    """A project like this one, but for the text that ``mutant`` replaces.

    Raises:
        SystemExit: if that text does not stand in its file exactly once.
    """
    copy = BUILD / "mutant"
    for folder in ("contracts", PROOFS):
        shutil.rmtree(copy / folder, ignore_errors=True)
        shutil.copytree(ROOT / folder, copy / folder)
    shutil.copy(ROOT / "foundry.toml", copy)
    for name in ("node_modules", "tools"):
        if not (copy / name).exists():
            (copy / name).symlink_to(ROOT / name)

    file = copy / mutant["file"]
    text = file.read_text()
    if text.count(mutant["from"]) != 1:
        sys.exit(f"guards.toml: {mutant['file']} does not hold this text once: {mutant['from']}")
    file.write_text(text.replace(mutant["from"], mutant["to"]))
    return copy


def stated_checks() -> set[str]:
    """The names of all checks in the sources."""
    sources = (ROOT / PROOFS).glob("*.t.sol")
    return {name for source in sources for name in re.findall(r"function (check_\w+)", source.read_text())}


def say(line: str) -> None:
    """Print a line at once: the next may take minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """The exit status."""
    mutants = tomllib.loads((ROOT / PROOFS / "guards.toml").read_text())["mutant"]
    if sys.argv[1:2] == ["--without"]:
        return 0 if refute(named(sys.argv[2:], mutants)) else 1
    checks = stated_checks()
    chosen = set(sys.argv[1:])
    say("On the contract as it is:")
    is_proven = decide(ROOT, chosen or checks, HOLDS)
    if not chosen:
        is_proven = is_proven and refute(mutants) and are_guarded(checks, mutants)
    return 0 if is_proven else 1


if __name__ == "__main__":
    sys.exit(main())
