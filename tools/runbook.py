# noqa: INP001 - a script, not part of a package
"""Writes the sections of `docs/runbook.md` about batches that wait, from `relayer/batches/advice.py`.

``tools/runbook.py`` writes them; ``tools/runbook.py --check`` fails where they differ from what it would write.
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import snapshot

from relayer.batches.advice import HOLDS, HUMAN, NONCE, Advice

TARGET = snapshot.ROOT / "docs/runbook.md"
TABLES: Mapping[str, Mapping[Any, Advice]] = {
    "held": HOLDS,
    "needs_human": HUMAN,
    "nonce": {"refused": NONCE},
}
BEGIN, END = "<!-- written by `make runbook` -->", "<!-- end -->"


def sections() -> Iterator[str]:
    """The list of all reasons, and a section for each."""
    yield "| state | reason | |"
    yield "|---|---|---|"
    for state, table in TABLES.items():
        for reason, advice in table.items():
            yield f"| `{state}` | [`{reason}`](#{state}-{reason}) | {_first_sentence(advice.why)} |"
    for state, table in TABLES.items():
        yield from _written(state, table)


def _written(state: str, table: Mapping[Any, Advice]) -> Iterator[str]:
    for reason, advice in table.items():
        yield ""
        yield f"### {state}: {reason}"
        yield ""
        yield advice.why
        yield ""
        yield f"- **Look at**: {advice.look}"
        yield f"- **Do**: {advice.do}"
        yield f"- **Never**: {advice.never}"


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].partition(": ")[0].partition("; ")[0].rstrip(".")


def main() -> int:
    """Write or check; give the exit status."""
    page = TARGET.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return snapshot.settle(
        TARGET,
        f"{before}{BEGIN}\n" + "\n".join(sections()) + f"\n{END}{after}",
        "is not what the commands tell: run `make runbook` and commit it",
    )


if __name__ == "__main__":
    sys.exit(main())
