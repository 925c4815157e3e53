# noqa: INP001 - a script's part, not part of a package
"""Files that are made from others and committed, so that a change of them is seen."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def settle(target: Path, text: str, otherwise: str) -> int:
    """Write `text` to `target`, or only compare them if the program was called with ``--check``.

    Returns the exit status: 1 where they differ, and `otherwise` is said about the file.
    """
    if "--check" not in sys.argv[1:]:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    elif not target.exists() or target.read_text() != text:
        sys.stderr.write(f"{target.relative_to(ROOT)} {otherwise}\n")
        return 1
    return 0
