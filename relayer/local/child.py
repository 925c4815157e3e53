"""What runs between fork and the server's own program: give up root, tie the child's life to its parent's, exec.

Run as a program of its own, not as a hook after fork: forked code of a process with threads can deadlock. It imports
nothing but the standard library, so that it also runs isolated from the environment.

    child.py PARENT_PID DEATH_SIGNAL UID GID PROGRAM [ARGUMENT...]     (UID and GID -1: stay who we are)
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the named program; on Linux the kernel sends it the death signal when the parent dies."""
    parent, death_signal, uid, gid = (int(argument) for argument in arguments[:4])
    command = arguments[4:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After setuid, because a change of credentials clears the setting.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
        if os.getppid() != parent:
            sys.exit("the parent died before its child was tied to it")
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
