"""The mutants that may live, and why."""

import tomllib
from pathlib import Path


def read(file: Path) -> dict[str, str]:
    """The reason of each mutant that the file explains, by the mutant's name; none where there is no file.

    Raises:
        ValueError: a mutant is named twice, or an entry gives no reason.
    """
    reasons: dict[str, str] = {}
    entries = tomllib.loads(file.read_text())["survivors"] if file.exists() else []
    for entry in entries:
        reason = " ".join(entry["because"].split())
        if not reason:
            raise ValueError(f"{file.name}: no reason for {entry['mutants']}")
        for mutant in entry["mutants"]:
            if mutant in reasons:
                raise ValueError(f"{file.name} names it twice: {mutant}")
            reasons[mutant] = reason
    return reasons
