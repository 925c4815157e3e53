"""The processes of a contender: their CPU time, and holding them still; by /proc, so on Linux alone."""

import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
# Positions behind the program's name in /proc/<pid>/stat.
_PARENT = 1
_TIMES = slice(11, 15)


def cpu_seconds(parts: Mapping[str, Iterable[int]]) -> dict[str, float]:
    """Give the CPU time of each part so far: its root processes, all below them, and their children that ended."""
    stats = _stats()
    return {
        name: sum(sum(map(int, stats[pid][_TIMES])) for pid in _tree(stats, roots)) / _TICKS_A_SECOND
        for name, roots in parts.items()
    }


def busy_seconds() -> float:
    """Give the CPU time that the whole machine spent on anything so far."""
    fields = (_PROC / "stat").read_text().partition("\n")[0].split()[1:]
    # user, nice, system, then idle and waiting for disks, then interrupts.
    return sum(int(fields[position]) for position in (0, 1, 2, 5, 6)) / _TICKS_A_SECOND


def hold(roots: Iterable[int]) -> None:
    """Stop processes and all below them where they are, until `resume`."""
    _signal(roots, signal.SIGSTOP)


def resume(roots: Iterable[int]) -> None:
    """Let processes and all below them go on."""
    _signal(roots, signal.SIGCONT)


def descendants(root: int) -> list[int]:
    """Give a process and all below it, the upper before the lower; nothing where it has ended."""
    return _tree(_stats(), [root])


def _signal(roots: Iterable[int], number: signal.Signals) -> None:
    for pid in _tree(_stats(), roots):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _stats() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                # The name is in brackets and may hold anything.
                found[int(folder.name)] = (folder / "stat").read_text().rpartition(")")[2].split()
    return found


def _tree(stats: Mapping[int, list[str]], roots: Iterable[int]) -> list[int]:
    members = [pid for pid in roots if pid in stats]
    for member in members:  # grows while it is read
        members += [pid for pid, fields in stats.items() if int(fields[_PARENT]) == member]
    return members
