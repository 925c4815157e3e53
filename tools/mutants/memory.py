"""Verdicts of earlier runs, for as long as nothing has changed that could change them."""

import hashlib
import json
from pathlib import Path

from mutants.generate import Mutant
from mutants.project import contract_files, digest, digest_of_rest, test_files
from mutants.trial import Verdict


class Memory:
    """Verdicts kept in `file`, a line of JSON each, beside a digest of all that they rest on.

    That is everything but the tests in other files than the one that killed the mutant: whoever writes a test to kill
    what survived has only that to run again.
    """

    def __init__(self, file: Path, root: Path) -> None:
        self._file = file
        lines = file.read_text().splitlines() if file.exists() else []
        self._verdicts = {entry["mutant"]: entry for entry in map(json.loads, lines)}

        tests = test_files(root)
        suites = {test for test in tests if test.name.endswith(".t.sol")}
        self._contracts = {str(path.relative_to(root)): digest(root, [path]) for path in contract_files(root)}
        self._suites = {str(path.relative_to(root)): digest(root, [path]) for path in suites}
        self._rest = digest(root, tests - suites) + digest_of_rest(root)

    def recall(self, mutant: Mutant) -> Verdict | None:
        """The mutant's verdict, if it would be the same today."""
        entry = self._verdicts.get(mutant.digest)
        if entry is None:
            return None
        verdict = Verdict(entry["kind"], entry["by"])
        return verdict if entry["ground"] == self._ground(mutant, verdict) else None

    def keep(self, mutant: Mutant, verdict: Verdict) -> None:
        """Add a verdict."""
        entry = {"mutant": mutant.digest, "ground": self._ground(mutant, verdict), **vars(verdict)}
        with self._file.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _ground(self, mutant: Mutant, verdict: Verdict) -> str:
        others = {path: text for path, text in self._contracts.items() if path != mutant.path}
        killer = verdict.by.partition(":")[0] if verdict.by else None
        suites = {path: text for path, text in self._suites.items() if killer in {None, path}}
        ground = json.dumps([others, suites, self._rest], sort_keys=True)
        return hashlib.sha256(ground.encode()).hexdigest()
