# noqa: INP001 - a script, not part of a package
"""Keeps a snapshot of where the registry stores what, its libraries' namespaces (ERC-7201) included.

``tools/layout.py`` writes it, and refuses where the new layout does more than append to the old one;
``tools/layout.py --check`` fails where the snapshot differs from what it would write. Both read the build of
``make .build/upgrades/.stamp``.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import snapshot

BUILD = snapshot.ROOT / ".build/upgrades/out/build-info"
TARGET = snapshot.ROOT / "contracts/layout/JobRegistry.json"

# The compiler tells the layout of variables only, so this contract declares one of each namespaced struct.
HARNESS = ("test/contracts/support/RegistryLayout.sol", "RegistryLayout")
REGISTRY = ("contracts/JobRegistry.sol", "JobRegistry")
NAMESPACE = "@custom:storage-location erc7201:"

REFUSED = (
    "stays as it is: the new layout moves, renames or drops what the file lists, and an upgraded registry would misread "
    "what is stored. A layout may only be appended to. (Where no registry is deployed yet, delete the file first.)"
)
DIFFERS = (
    "is not the registry's layout. A layout may only be appended to: run `make layout`, which refuses anything else, "
    "and commit it"
)


def main() -> int:
    """Write or check, by the argument; the exit status."""
    (build,) = BUILD.glob("*.json")
    layout = layout_of(json.loads(build.read_text())["output"])
    if (
        "--check" not in sys.argv[1:]
        and TARGET.exists()
        and not extends(json.loads(TARGET.read_text()), layout)
    ):
        sys.stderr.write(f"{TARGET.relative_to(snapshot.ROOT)} {REFUSED}\n")
        return 1
    return snapshot.settle(TARGET, json.dumps(layout, indent=2) + "\n", DIFFERS)


def layout_of(output: dict[str, Any]) -> dict[str, Any]:
    """Variables outside of namespaces, the struct of each namespace, the fields of each struct."""
    own, harness = storage_layout(output, *REGISTRY), storage_layout(output, *HARNESS)
    types = own["types"] | harness["types"]
    structs = {
        kind["label"].removeprefix("struct "): [field(member, types) for member in kind["members"]]
        for kind in types.values()
        if "members" in kind
    }
    namespaces = dict(namespaces_of(output["sources"]))
    if undeclared := namespaces.values() - structs.keys():
        raise SystemExit(f"{HARNESS[0]} does not declare {', '.join(sorted(undeclared))}")
    return {
        "variables": [field(variable, types) for variable in own["storage"]],
        "namespaces": dict(sorted(namespaces.items())),
        "structs": dict(sorted(structs.items())),
    }


def storage_layout(output: dict[str, Any], path: str, contract: str) -> dict[str, Any]:
    """A contract's variables and their types; forge leaves out what is empty."""
    found: dict[str, Any] = output["contracts"][path][contract].get("storageLayout", {})
    return {"storage": [], "types": {}} | found


def field(member: dict[str, Any], types: dict[str, Any]) -> str:
    """A variable, or a field relative to its struct: where it begins, its type, its name."""
    label = types[member["type"]]["label"]
    return f"slot {member['slot']}, byte {member['offset']}: {label} {member['label']}"


def namespaces_of(sources: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each namespace that the registry or a contract above it has, and its struct."""
    nodes = [node for source in sources.values() for node in source["ast"]["nodes"]]
    contracts = {node["id"]: node for node in nodes if node["nodeType"] == "ContractDefinition"}
    (registry,) = (node for node in contracts.values() if node["name"] == REGISTRY[1])
    for base in registry["linearizedBaseContracts"]:
        for node in contracts[base]["nodes"]:
            if node["nodeType"] == "StructDefinition" and "documentation" in node:
                _, found, rest = node["documentation"]["text"].partition(NAMESPACE)
                if found:
                    yield rest.split()[0], node["canonicalName"]


def extends(before: Any, after: Any) -> bool:
    """Whether `after` has all of `before`, lists in their order, and at most more at the end."""
    if isinstance(before, dict):
        return all(key in after and extends(value, after[key]) for key, value in before.items())
    if isinstance(before, list):
        return bool(after[: len(before)] == before)
    return bool(after == before)


if __name__ == "__main__":
    sys.exit(main())
