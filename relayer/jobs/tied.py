"""Ties between processes, on Linux: a process dies with its parent, takes in orphans, and ends all that it started.

Elsewhere the functions do nothing, and process groups alone hold things together.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.005
# How long the kernel may take to end what was killed.
_LIMIT_S = 2.0


def die_with(parent: int) -> None:
    """Die (SIGKILL) when the process `parent` dies; exit at once if it is gone already."""
    if sys.platform != "linux":
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent died before its child was tied to it")


def hide_memory() -> None:
    """Keep other processes of this user from reading this one's memory and environment; programs it starts are free.

    A handler runs as the same user. Root may read everything all the same.
    """
    if sys.platform == "linux":
        _prctl(_PR_SET_DUMPABLE, 0)


def take_in_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_descendants(keep: Collection[int] = ()) -> None:
    """Kill everything that descends from this process, except for the children `keep` and what descends from them.

    No other code of this process may wait for a child meanwhile, except for those in `keep`.
    """
    deadline = time.monotonic() + _LIMIT_S
    while (found := _descendants(os.getpid(), keep)) and time.monotonic() < deadline:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(_POLL_S)


def _descendants(pid: int, keep: Collection[int] = ()) -> list[int]:
    children = [child for child in _children(pid) if child not in keep]
    return children + [one for child in children for one in _descendants(child)]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
