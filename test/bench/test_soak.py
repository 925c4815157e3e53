"""The short form of the soak: a few faults, and the books must be sound."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_is_lost_doubled_or_left_behind() -> None:
    command = [sys.executable, "-m", "bench.soak", "8", "--seed", "7"]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "sound: nothing lost" in completed.stdout
