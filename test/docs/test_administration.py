"""`docs/reference/administration.md` tells the limits of every plan, and every action that the log may show."""

import re
from pathlib import Path

from relayer.tenants.plans import BOUNDS, PLANS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/administration.md").read_text()


def number(text: str) -> int:
    base, _, power = text.replace(",", "").partition("^")
    value: int = int(base) ** int(power or 1)
    return value


def test_the_limits_of_the_plans_are_those_of_the_code() -> None:
    documented: dict[str, dict[str, int]] = {name: {} for name in PLANS}
    section = PAGE.partition("## Limits")[2].partition("\n## ")[0]
    for names, free, standard in re.findall(
        r"^\| (`.+?`) \| .+ \| (\S.*?) \| (\S.*?) \|$", section, re.MULTILINE
    ):
        for plan, values in (("free", free), ("standard", standard)):
            shown = zip(re.findall(r"`(\w+)`", names), values.split(", "), strict=True)
            documented[plan] |= {name: number(value) for name, value in shown}
    assert documented == {name: limits.to_document() for name, limits in PLANS.items()}
    assert list(documented["free"]) == list(BOUNDS)


def test_every_action_is_told_of() -> None:
    resources = (
        "tenant",
        "api_key",
        "access_token",
        "kind_cap",
        "kind_lane",
        "registry",
        "batch",
        "nonce",
        "credentials",
    )
    actions = re.compile(rf'"((?:{"|".join(resources)})\.[a-z_]+)"')
    rooms = (ROOT / "relayer/tenants", ROOT / "relayer/batches")
    code = "".join(path.read_text() for room in rooms for path in room.glob("*.py"))
    section = PAGE.partition("## Audit events")[2]
    rows = re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([\w.]+)`", row)} == set(actions.findall(code))
