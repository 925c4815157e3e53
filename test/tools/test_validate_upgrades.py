"""The check that `make validate-upgrades` runs, put to successors made from the registry's own source."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKER = ROOT / "node_modules/@openzeppelin/upgrades-core/dist/cli/cli.js"
REGISTRY, INTERFACE = "JobRegistry.sol", "interfaces/IJobRegistry.sol"

MAPPING = "mapping(uint256 word => uint256 bits)"
BETWEEN = f"\n        /// Revoked tickets, a bit each, by word index. Never cleared.\n        {MAPPING} "


@dataclass(frozen=True)
class Successor:
    """The registry with `new` in place of `old` in one source, and why it must be refused, if it must."""

    name: str
    source: str
    old: str
    new: str
    complaint: str | None


SUCCESSORS = [
    Successor("appended", REGISTRY, "uint256 quorums;\n    }", "uint256 quorums; uint8 added;\n    }", None),
    Successor(
        "inserted",
        REGISTRY,
        "struct RegistryStorage {",
        "struct RegistryStorage { uint256 inserted;",
        "Inserted `inserted`",
    ),
    Successor(
        "reordered",
        REGISTRY,
        f"confirmed;{BETWEEN}revoked;",
        f"revoked;{BETWEEN}confirmed;",
        "Deleted `confirmed`",
    ),
    Successor(
        "batch_reordered",
        INTERFACE,
        "uint8 approvals;\n    uint8 format;",
        "uint8 format;\n    uint8 approvals;",
        "Bad upgrade to struct Batch",
    ),
    Successor(
        "elsewhere",
        REGISTRY,
        "erc7201:jobseal.storage.JobRegistry",
        "erc7201:jobseal.storage.Elsewhere",
        "Deleted namespace `erc7201:jobseal.storage.JobRegistry`",
    ),
    Successor(
        "uninitialised",
        REGISTRY,
        "__AccessControlDefaultAdminRules_init(setup.adminDelay, setup.admin);",
        "",
        "Missing initializer calls",
    ),
]


@pytest.mark.campaign
def test_the_registry_may_only_grow(tmp_path: Path) -> None:
    copy_registry(tmp_path / "contracts/reference")
    for successor in SUCCESSORS:
        folder = tmp_path / "contracts" / successor.name
        copy_registry(folder)
        replace(folder / successor.source, successor.old, successor.new)
        # The checker takes contracts of the same bytecode for the same; a real successor has another version.
        replace(folder / REGISTRY, '"1.0.0"', f'"{successor.name}"')
    build(tmp_path)

    for successor in SUCCESSORS:
        run = check(successor, tmp_path)
        assert (run.returncode == 0) == (successor.complaint is None), run.stdout
        assert (successor.complaint or "SUCCESS") in run.stdout


def copy_registry(folder: Path) -> None:
    for part in ("interfaces", "libraries"):
        shutil.copytree(ROOT / "contracts" / part, folder / part)
    shutil.copy(ROOT / "contracts" / REGISTRY, folder)


def replace(path: Path, old: str, new: str) -> None:
    source = path.read_text()
    assert source.count(old) == 1, old
    path.write_text(source.replace(old, new))


def build(root: Path) -> None:
    shutil.copy(ROOT / "foundry.toml", root)
    for needed in ("node_modules", "tools"):
        (root / needed).symlink_to(ROOT / needed)
    # Only the layout is wanted, so the code may be large.
    environment = os.environ | {"FOUNDRY_OPTIMIZER": "false", "FOUNDRY_DENY": "never"}
    command = [program("forge"), "build", "--build-info", "--extra-output=storageLayout"]
    subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)


def check(successor: Successor, root: Path) -> subprocess.CompletedProcess[str]:
    contract, reference = (
        f"contracts/{name}/JobRegistry.sol:JobRegistry" for name in (successor.name, "reference")
    )
    command = [program("node"), str(CHECKER), "validate", "out/build-info", "--requireReference"]
    command += ["--contract", contract, "--reference", reference]
    return subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)


def program(name: str) -> str:
    found = shutil.which(name, path=f"{ROOT / '.tools/bin'}{os.pathsep}{os.environ['PATH']}")
    assert found is not None, name
    return found
