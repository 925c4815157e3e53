"""The figures of a campaign as tables."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from chaos.run import Recovery, Report
from chaos.trouble import FAR
from chaos.world import BLOCK_S


def table(reports: Sequence[Report]) -> str:
    """Give, for every class and every fault, how often it came and how long it took until all that it met was settled."""
    classes: dict[str, list[int]] = defaultdict(list)
    faults: dict[str, list[int]] = defaultdict(list)
    for report in reports:
        for one in _telling(report.recoveries):
            if one.blocks is not None:
                classes[one.kind].append(one.blocks)
                faults[f"{one.kind}: {one.name}"].append(one.blocks)
    flawed = [report.seed for report in reports if report.flaws]
    end = f"{len(reports)} seeds, {len(flawed)} with flaws{f': {flawed}' if flawed else ''}"
    return "\n".join([*_rows("class", classes), "", *_rows("fault", faults), "", end])


def _telling(recoveries: Sequence[Recovery]) -> Sequence[Recovery]:
    """Give a reorganisation alone that goes far: finality lies beyond it in its whole run, and everything takes so long."""
    return [one for one in recoveries if one.name == FAR] or recoveries


def _rows(title: str, blocks: Mapping[str, list[int]]) -> list[str]:
    lines = [
        f"| {title} | times | blocks: median | most | seconds: median | most |",
        "|---|---|---|---|---|---|",
    ]
    for name, taken in sorted(blocks.items()):
        median, most = sorted(taken)[len(taken) // 2], max(taken)
        lines.append(f"| {name} | {len(taken)} | {median} | {most} | {median * BLOCK_S} | {most * BLOCK_S} |")
    return lines
