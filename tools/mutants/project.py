"""The project built once, in a copy, as the ground on which mutants are tried."""

import hashlib
import json
import shutil
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from mutants import forge
from mutants.reach import Reach
from mutants.solc import Target, creation_code
from mutants.syntax import Node, Source, struct_siblings

# What a copy has of its own, and what it makes by itself; everything else of the project is linked.
_COPIED = {"contracts", "test"}
_MADE = {"out", "cache", ".build", ".git"}

# Tests that would be no proof, or too dear a one.
_LEFT_OUT = [
    "*Gas*.t.sol",  # any change to the code changes its gas
    "*Invariant*.t.sol",  # a minute to find what the other tests have to find as well
    "invariant",
    "symbolic",  # run by another tool
    "script",  # like the three below, with the registry's code in its own: it would be compiled with each mutant
    "FormatTwo.t.sol",
    "Migration.t.sol",
    "Upgrade.t.sol",
]

_SETTINGS = ["foundry.toml", "package-lock.json"]
_TOOL = Path(__file__).parent

_EXAMPLES = "contracts/examples/"  # not mutated: they are to be read, not relied upon


def _copy(root: Path, target: Path) -> None:
    """Make `target` a copy of the project, without some tests, that shares what no mutant and no build changes."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for entry in root.iterdir():
        if entry.name in _COPIED:
            shutil.copytree(entry, target / entry.name, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        elif entry.name not in _MADE and entry.name not in _LEFT_OUT:
            (target / entry.name).symlink_to(entry)


def contract_files(root: Path) -> set[Path]:
    """The contracts, examples too."""
    return set((root / "contracts").rglob("*.sol"))


def test_files(root: Path) -> set[Path]:
    """The tests, and the test vectors that they read."""
    tests = root / "test/contracts"
    return {*tests.rglob("*.sol"), *(tests / "vectors").rglob("*")}


def digest(root: Path, files: Iterable[Path]) -> str:
    """Of the names below `root` and the contents of `files`."""
    summary = hashlib.sha256()
    for file in sorted(files):
        summary.update(f"{file.relative_to(root)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return summary.hexdigest()


def digest_of_rest(root: Path) -> str:
    """Of all that a build or a verdict rests on besides Solidity files: settings, dependencies, this tool."""
    return digest(root, [root / name for name in _SETTINGS]) + digest(_TOOL, _TOOL.glob("*.[jp]*"))


class Project:
    """The project at `root`, built under ``.build/mutants/base`` unless what is there is up to date."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workplace = root / ".build/mutants"
        self.base = self.workplace / "base"
        self._build = self._up_to_date() or self._built()

    @property
    def input(self) -> Path:
        """The compiler's input, in solc's standard JSON."""
        return self.base / "input.json"

    @cached_property
    def sources(self) -> list[Source]:
        """The contracts of the project that are to be mutated, with their syntax trees, by path."""
        siblings = struct_siblings(self._trees.values())
        return [
            Source(path, (self.root / path).read_bytes(), tree, siblings)
            for path, tree in sorted(self._trees.items())
            if path.startswith("contracts/") and not path.startswith(_EXAMPLES)
        ]

    def targets(self, path: str) -> list[Target]:
        """The contracts, those of tests too, into whose bytecode code of the file `path` goes."""
        return self._targets[path]

    def creation_code(self, targets: Iterable[Target]) -> list[str]:
        """The creation bytecode of contracts as they are, in hexadecimal digits."""
        return creation_code({target: self._evm[target] for target in targets})

    @cached_property
    def artifacts(self) -> dict[Target, Path]:
        """Where in a copy the artifact of each contract lies."""
        found = {}
        for file in (self.base / "out").rglob("*.sol/*.json"):
            if metadata := json.loads(file.read_text()).get("metadata"):
                (target,) = metadata["settings"]["compilationTarget"].items()
                found[target] = file.relative_to(self.base)
        return found

    @property
    def tests(self) -> int:
        """How many tests there are when all pass."""
        return int(self._build["tests"])

    @property
    def seconds(self) -> float:
        """How long all of them take with full fuzzing."""
        return float(self._build["seconds"])

    @property
    def _trees(self) -> dict[str, Node]:
        return {path: source["ast"] for path, source in self._build["output"]["sources"].items()}

    @cached_property
    def _evm(self) -> dict[Target, dict[str, Any]]:
        """What solc says of each contract that has bytecode."""
        return {
            (path, name): contract["evm"]
            for path, contracts in self._build["output"]["contracts"].items()
            for name, contract in contracts.items()
            if contract["evm"]["bytecode"]["object"]
        }

    @cached_property
    def _targets(self) -> dict[str, list[Target]]:
        reach = Reach(self._trees)
        used = {target for target in self._evm if target[0].startswith("contracts/") or ".t.sol" in target[0]}
        return {source.path: sorted(used & reach.contracts_with(source.path)) for source in self.sources}

    def _up_to_date(self) -> dict[str, Any] | None:
        stamp = self.base / "build.json"
        if stamp.exists():
            build: dict[str, Any] = json.loads(stamp.read_text())
            if build["digest"] == self._digest():
                return build
        return None

    def _digest(self) -> str:
        return digest(self.root, contract_files(self.root) | test_files(self.root)) + digest_of_rest(
            self.root
        )

    def _built(self) -> dict[str, Any]:
        """A fresh build that is known to pass its tests."""
        _copy(self.root, self.base)
        info = forge.build(self.base)
        for path, source in info["input"]["sources"].items():
            if path.startswith("contracts/") and source["content"] != (self.root / path).read_text():
                raise RuntimeError(f"forge compiles another text of {path} than there is")
        self.input.write_text(json.dumps({key: info["input"][key] for key in ("settings", "sources")}))
        run = forge.test(self.base, forge.FULL, limit=None)
        if run.failed is not None:
            raise RuntimeError(f"the tests fail without any mutant: {run.failed}")
        build = {
            "digest": self._digest(),
            "output": info["output"],
            "tests": run.passed,
            "seconds": run.seconds,
        }
        (self.base / "build.json").write_text(json.dumps(build))
        return build
