"""The gate of `make coverage`, on reports as forge writes them."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools/coverage.py"
REPORT = """TN:
SF:contracts/A.sol
DA:10,{line}
FN:10,A.f
FNDA:{function},A.f
BRDA:11,0,0,{branch}
end_of_record
TN:
SF:contracts/consumer/B.sol
DA:20,{other}
end_of_record
"""
REACHED = {"line": "3", "function": "3", "branch": "1", "other": "7"}


def run(tmp_path: Path, report: str, folder: str) -> tuple[int, str]:
    path = tmp_path / "core.info"
    path.write_text(report)
    run = subprocess.run([sys.executable, TOOL, path, folder], check=False, capture_output=True, text=True)
    return run.returncode, run.stderr


def test_passes_where_all_is_reached(tmp_path: Path) -> None:
    assert run(tmp_path, REPORT.format(**REACHED), "contracts/") == (0, "")


@pytest.mark.parametrize(
    ("part", "count", "complaint"),
    [
        ("line", "0", "contracts/A.sol:10: line is not reached\n"),
        ("function", "0", "contracts/A.sol:10: function A.f is not reached\n"),
        ("branch", "0", "contracts/A.sol:11: branch 0 is not reached\n"),
        ("branch", "-", "contracts/A.sol:11: branch 0 is not reached\n"),
        ("other", "0", "contracts/consumer/B.sol:20: line is not reached\n"),
    ],
)
def test_lists_what_is_not_reached(tmp_path: Path, part: str, count: str, complaint: str) -> None:
    assert run(tmp_path, REPORT.format(**REACHED | {part: count}), "contracts/") == (1, complaint)


def test_looks_at_the_folder_alone(tmp_path: Path) -> None:
    assert run(tmp_path, REPORT.format(**REACHED | {"line": "0"}), "contracts/consumer/") == (0, "")


@pytest.mark.parametrize("report", ["", REPORT.format(**REACHED)])
def test_a_report_that_knows_nothing_fails(tmp_path: Path, report: str) -> None:
    status, said = run(tmp_path, report, "elsewhere/")
    assert status == 1
    assert "knows nothing of elsewhere/" in said
