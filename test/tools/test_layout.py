"""The snapshot of the storage layout, for builds in which a registry with one namespace is all there is."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FIELDS = [("t_bits", "confirmed"), ("t_bits", "revoked")]
TYPES = {"t_bits": "mapping(uint256 => uint256)", "t_uint256": "uint256"}


class Project:
    """A folder with the tool, a build and, once it is written, a snapshot."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.build = root / ".build/upgrades/out/build-info/1.json"
        self.snapshot = root / "contracts/layout/JobRegistry.json"
        self.build.parent.mkdir(parents=True)
        (root / "tools").mkdir()
        for script in ("layout.py", "snapshot.py"):
            shutil.copy(ROOT / "tools" / script, root / "tools")
        self.compile()

    def compile(
        self,
        fields: list[tuple[str, str]] = FIELDS,
        namespace: str = "jobseal.storage.JobRegistry",
        declares: bool = True,
    ) -> None:
        struct = {
            "nodeType": "StructDefinition",
            "canonicalName": "JobRegistry.RegistryStorage",
            "documentation": {"text": f"@custom:storage-location erc7201:{namespace}"},
        }
        base = {"nodeType": "ContractDefinition", "id": 1, "name": "Base", "nodes": [struct]}
        registry = {"nodeType": "ContractDefinition", "id": 2, "name": "JobRegistry", "nodes": []}
        registry["linearizedBaseContracts"] = [2, 1]
        output = {
            "sources": {"contracts/JobRegistry.sol": {"ast": {"nodes": [base, registry]}}},
            "contracts": {
                "contracts/JobRegistry.sol": {"JobRegistry": {}},
                "test/contracts/support/RegistryLayout.sol": {
                    "RegistryLayout": {"storageLayout": storage_layout(fields) if declares else {}}
                },
            },
        }
        self.build.write_text(json.dumps({"output": output}))

    def run(self, *arguments: str) -> tuple[int, str]:
        run = subprocess.run(
            [sys.executable, self.root / "tools/layout.py", *arguments],
            check=False,
            capture_output=True,
            text=True,
        )
        return run.returncode, run.stderr


def storage_layout(fields: list[tuple[str, str]]) -> dict[str, Any]:
    members = [
        {"slot": str(slot), "offset": 0, "type": kind, "label": name}
        for slot, (kind, name) in enumerate(fields)
    ]
    types: dict[str, Any] = {kind: {"label": label} for kind, label in TYPES.items()}
    types["t_struct"] = {"label": "struct JobRegistry.RegistryStorage", "members": members}
    return {"storage": [{"slot": "0", "offset": 0, "type": "t_struct", "label": "registry"}], "types": types}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_tells_slots_types_and_names(project: Project) -> None:
    assert project.run() == (0, "")
    assert json.loads(project.snapshot.read_text()) == {
        "variables": [],
        "namespaces": {"jobseal.storage.JobRegistry": "JobRegistry.RegistryStorage"},
        "structs": {
            "JobRegistry.RegistryStorage": [
                "slot 0, byte 0: mapping(uint256 => uint256) confirmed",
                "slot 1, byte 0: mapping(uint256 => uint256) revoked",
            ]
        },
    }
    assert project.run("--check") == (0, "")


def test_the_check_needs_a_snapshot(project: Project) -> None:
    status, said = project.run("--check")
    assert status == 1
    assert "only be appended to" in said
    assert not project.snapshot.exists()


def test_an_appended_field_is_drift_until_it_is_written(project: Project) -> None:
    project.run()
    project.compile([*FIELDS, ("t_uint256", "quorums")])
    assert project.run("--check")[0] == 1
    assert project.run() == (0, "")
    assert project.run("--check") == (0, "")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([("t_uint256", "inserted"), *FIELDS], id="inserted"),
        pytest.param(FIELDS[::-1], id="reordered"),
        pytest.param(FIELDS[:1], id="dropped"),
        pytest.param([FIELDS[0], ("t_uint256", "revoked")], id="retyped"),
        pytest.param([FIELDS[0], ("t_bits", "renamed")], id="renamed"),
    ],
)
def test_any_other_change_is_refused(project: Project, fields: list[tuple[str, str]]) -> None:
    project.run()
    before = project.snapshot.read_text()
    project.compile(fields)
    for arguments in (["--check"], []):
        status, said = project.run(*arguments)
        assert status == 1
        assert "only be appended to" in said
    assert project.snapshot.read_text() == before


def test_another_namespace_is_refused(project: Project) -> None:
    project.run()
    project.compile(namespace="jobseal.storage.Elsewhere")
    assert project.run()[0] == 1


def test_every_namespace_must_be_declared(project: Project) -> None:
    project.compile(declares=False)
    status, said = project.run()
    assert status == 1
    assert "does not declare JobRegistry.RegistryStorage" in said
