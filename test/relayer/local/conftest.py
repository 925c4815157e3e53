"""Homes for the embedded servers, short-lived processes that hold them, and a look at who is alive."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


class Parent:
    """A Python process that runs a script on this tree; `say()` gives the next line that it prints."""

    def __init__(self, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline().strip()
        assert line, "the parent died without a word"
        return line

    def go_on(self) -> None:
        """Let it go on from its `input()`."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL: it can clean up nothing."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            pipe.close()


@pytest.fixture
def parent() -> Iterator[Callable[..., Parent]]:
    """Start parents; what is left of them is killed at the end."""
    parents: list[Parent] = []

    def start(script: str, *arguments: str) -> Parent:
        parents.append(Parent(script, *arguments))
        return parents[-1]

    yield start
    for started in parents:
        started.kill()


@pytest.fixture
def dies() -> Callable[[int], None]:
    """Wait for a process's end; a zombie, which its parent has only to collect, has ended."""

    def wait(pid: int) -> None:
        deadline = time.monotonic() + 15
        while _runs(pid):
            assert time.monotonic() < deadline, f"process {pid} lives on"
            time.sleep(0.02)

    return wait


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status != "Z"


# What only root meets: a server that runs as somebody else.
collect_ignore = [] if os.geteuid() == 0 else ["test_as_root.py"]
