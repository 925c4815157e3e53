"""The folders in which isolated attempts keep files; nothing of them outlives its attempt for long.

A horse removes the folder of its attempt, a worker what a killed horse left, and a pool that starts what a killed pool
left on this machine.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "jobseal-pool-"
_LOCK = "lock"


class PoolScratch:
    """The folder of one pool; that it lives is told by a lock, which the kernel drops when it dies."""

    def __init__(self) -> None:
        _remove_stale()
        # Under another name until it is locked, so that nobody takes it for a dead pool's.
        draft = Path(tempfile.mkdtemp(prefix="jobseal-new-"))
        self._lock = os.open(draft / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._folder = draft.rename(draft.with_name(draft.name.replace("jobseal-new-", _PREFIX)))

    def of_worker(self, number: int) -> Path:
        """Give the folder of a worker, which may not exist yet."""
        return self._folder / str(number)

    def remove(self) -> None:
        """Remove everything, when no worker runs any more."""
        remove_tree(self._folder)
        os.close(self._lock)


def make_empty(folder: Path) -> None:
    """Make a folder, or remove what is in it."""
    remove_tree(folder)
    folder.mkdir(mode=0o700)


def remove_tree(folder: Path) -> None:
    """Remove a folder with everything in it, also what its owner has locked itself out of."""
    for path, names, _ in os.walk(folder):
        for name in names:
            inner = Path(path, name)
            if not inner.is_symlink():
                with suppress(OSError):
                    inner.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_stale() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # Not ours, being removed, or in use.
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(folder)
            finally:
                os.close(lock)
