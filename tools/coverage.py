# noqa: INP001 - a script, not part of a package
"""Fails where a line, a branch or a function of a folder was not reached, and lists them.

``tools/coverage.py REPORT FOLDER`` reads what ``forge coverage --report lcov`` writes. There an ``if`` without ``else``
has one branch, its body; that the tests also pass it by shows in the lines that follow.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

NOT_REACHED = ("0", "-")


def main(report: str, folder: str) -> int:
    """The exit status: 1 where something was not reached, or where the report knows no line of the folder."""
    places = list(places_of(Path(report).read_text().splitlines(), folder))
    missing = [place for place, count in places if count in NOT_REACHED]
    for place in missing:
        sys.stderr.write(f"{place} is not reached\n")
    if not places:
        sys.stderr.write(f"{report} knows nothing of {folder}\n")
    return 1 if missing or not places else 0


def places_of(records: Sequence[str], folder: str) -> Iterator[tuple[str, str]]:
    """Each line, branch and function of the folder's files, with how often it was reached."""
    source = function = ""
    for record in records:
        kind, _, rest = record.partition(":")
        fields = rest.split(",")
        if kind == "SF":
            source = rest
        elif not source.startswith(folder):
            continue
        elif kind == "FN":
            function = f"{source}:{fields[0]}: function {fields[1]}"
        elif kind == "FNDA":
            yield function, fields[0]
        elif kind == "DA":
            yield f"{source}:{fields[0]}: line", fields[1]
        elif kind == "BRDA":
            yield f"{source}:{fields[0]}: branch {fields[2]}", fields[3]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
