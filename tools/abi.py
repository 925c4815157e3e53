# noqa: INP001 - a script, not part of a package
"""Copies the registry's ABI from forge's artifact to where the relayer reads it.

``tools/abi.py`` writes the file; ``tools/abi.py --check`` fails where it differs from what it would write.
"""

import json
import sys

import snapshot

ARTIFACT = snapshot.ROOT / "out/JobRegistry.sol/JobRegistry.json"
TARGET = snapshot.ROOT / "relayer/chain/abi/job_registry.json"


def render() -> str:
    """The ABI, entries by type and name, so that a diff shows a change and nothing else."""
    entries = json.loads(ARTIFACT.read_text())["abi"]
    entries.sort(key=lambda entry: (entry["type"], entry.get("name", ""), json.dumps(entry, sort_keys=True)))
    return json.dumps(entries, indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(snapshot.settle(TARGET, render(), "is not the contract's ABI: run `make abi` and commit it"))
