"""The reports of a campaign in a file: a line of JSON each, added as soon as its seed has ended."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import orjson

from chaos.run import Recovery, Report


def append(file: Path, report: Report) -> None:
    with file.open("ab", buffering=0) as lines:
        lines.write(orjson.dumps(asdict(report)) + b"\n")


def read(file: Path) -> Iterator[Report]:
    """Give what a file holds; nothing where there is none."""
    if not file.exists():
        return
    with file.open("rb") as lines:
        for line in lines:
            kept = orjson.loads(line)
            yield Report(**kept | {"recoveries": [Recovery(**one) for one in kept["recoveries"]]})
