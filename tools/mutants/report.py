"""What a run came to: a file for programs, a table and complaints for people."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from mutants.generate import Mutant
from mutants.trial import Kind, Verdict

_DEAD = ("killed", "timed out")


def write(file: Path, verdicts: Sequence[tuple[Mutant, Verdict]], reasons: Mapping[str, str]) -> None:
    """All verdicts as JSON, in the order of the mutants' places."""
    entries = [
        {
            "mutant": mutant.name,
            "path": mutant.path,
            "line": mutant.line,
            "verdict": verdict.kind,
            "by": verdict.by,
            "because": reasons.get(mutant.name),
        }
        for mutant, verdict in verdicts
    ]
    file.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n")


def table(verdicts: Sequence[tuple[Mutant, Verdict]]) -> str:
    """How many of each kind there are in each file."""
    counts: dict[str, Counter[str]] = {}
    for mutant, verdict in verdicts:
        counts.setdefault(mutant.path, Counter())[verdict.kind] += 1
    kinds = get_args(Kind)
    rows = [("", *kinds)]
    rows += [(path, *(str(count[kind]) for kind in kinds)) for path, count in sorted(counts.items())]
    rows += [("all", *(str(sum(count[kind] for count in counts.values())) for kind in kinds))]
    return "\n".join(
        f"{path:<40}" + "".join(f"{cell:>{len(kind) + 3}}" for kind, cell in zip(kinds, cells, strict=True))
        for path, *cells in rows
    )


def complaints(
    verdicts: Sequence[tuple[Mutant, Verdict]], reasons: Mapping[str, str], existing: Sequence[Mutant]
) -> Iterator[str]:
    """What has to be mended: survivors without a reason, and reasons without a survivor."""
    for mutant, verdict in verdicts:
        if verdict.kind == "survived" and mutant.name not in reasons:
            yield f"{mutant.path}:{mutant.line}: survives: {mutant.name}"
        if verdict.kind != "survived" and mutant.name in reasons:
            yield f"{mutant.path}:{mutant.line}: is explained, but is {verdict.kind}: {mutant.name}"
    for name in reasons.keys() - {mutant.name for mutant in existing}:
        yield f"is explained, but there is no such mutant: {name}"
