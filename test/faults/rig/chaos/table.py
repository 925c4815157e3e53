"""The figures of a campaign as a table."""

from collections import defaultdict
from collections.abc import Sequence

from chaos.run import Report
from chaos.world import BLOCK_S


def table(reports: Sequence[Report]) -> str:
    """Give, for every fault, how often it came and how long it took until all that it had met was settled."""
    blocks: dict[tuple[str, str], list[int]] = defaultdict(list)
    for report in reports:
        for one in report.recoveries:
            if one.blocks is not None:
                blocks[one.kind, one.name].append(one.blocks)
    lines = [
        "| class | fault | times | recovery in blocks: median | most | in seconds: median | most |",
        "|---|---|---|---|---|---|---|",
    ]
    for (kind, name), taken in sorted(blocks.items()):
        taken.sort()
        median, most = taken[len(taken) // 2], taken[-1]
        lines.append(
            f"| {kind} | {name} | {len(taken)} | {median} | {most} | {median * BLOCK_S} | {most * BLOCK_S} |"
        )
    flawed = [report.seed for report in reports if report.flaws]
    lines.append("")
    lines.append(f"{len(reports)} seeds, {len(flawed)} with flaws{f': {flawed}' if flawed else ''}")
    return "\n".join(lines)
