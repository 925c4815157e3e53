"""Tries one mutant after another."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mutants import forge
from mutants.generate import Mutant
from mutants.project import Project
from mutants.solc import Compiled, Compiler, creation_code

Kind = Literal["killed", "timed out", "same code", "invalid", "survived"]


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant; `by` is the test that killed it, as ``file:Contract.test``."""

    kind: Kind
    by: str | None = None


class Bench:
    """A copy of the built project and a compiler, for one mutant at a time.

    The mutant's bytecode is put into forge's artifacts, under unchanged sources: that costs a second and a half, where
    forge would take ten to see what has to be compiled.
    """

    def __init__(self, project: Project, folder: Path) -> None:
        self._project, self._folder = project, folder
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(project.base, folder, symlinks=True)
        self._compiler = Compiler(project.input)
        first = project.sources[0]
        compiled = self._compiler.compile(first.path, first.content.decode(), project.targets(first.path))
        if compiled is None or creation_code(compiled) != project.creation_code(project.targets(first.path)):
            raise RuntimeError(f"{first.path} compiles to other code than forge's")

    def close(self) -> None:
        """End the compiler."""
        self._compiler.close()

    def judge(self, mutant: Mutant, known: dict[str, Verdict]) -> Verdict:
        """What becomes of `mutant`; `known` has the verdicts by bytecode, and learns this one."""
        targets = self._project.targets(mutant.path)
        if not targets:
            return Verdict("survived")  # in code that nothing uses, let alone a test
        compiled = self._compiler.compile(mutant.path, mutant.content.decode(), targets)
        if compiled is None:
            return Verdict("invalid")
        code = creation_code(compiled)
        if code == self._project.creation_code(targets):
            return Verdict("same code")
        digest = hashlib.sha256("".join(code).encode()).hexdigest()
        if digest not in known:
            known[digest] = self._tried(compiled)
        return known[digest]

    def _tried(self, compiled: Compiled) -> Verdict:
        with self._artifacts_of(compiled):
            verdict = self._tested(forge.QUICK)
            return self._tested(forge.FULL) if verdict.kind == "survived" else verdict

    def _tested(self, effort: dict[str, str]) -> Verdict:
        try:
            run = forge.test(self._folder, effort, limit=120 + 20 * self._project.seconds)
        except subprocess.TimeoutExpired:
            return Verdict("timed out")
        if run.failed is not None:
            return Verdict("killed", run.failed)
        if run.passed != self._project.tests:
            raise RuntimeError(f"{self._folder}: {run.passed} tests of {self._project.tests} were run")
        return Verdict("survived")

    @contextmanager
    def _artifacts_of(self, compiled: Compiled) -> Iterator[None]:
        originals = {}
        for target, evm in compiled.items():
            path = self._folder / self._project.artifacts[target]
            originals[path] = path.read_text()
            artifact = json.loads(originals[path])
            for part, code in evm.items():
                artifact[part] |= code | {"object": "0x" + code["object"]}
            path.write_text(json.dumps(artifact))
        try:
            yield
        finally:
            for path, original in originals.items():
                path.write_text(original)
