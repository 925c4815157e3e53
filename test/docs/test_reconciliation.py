"""`docs/reconciliation.md` has the rule table that the code has."""

from pathlib import Path

from relayer.batches.differences import RULES

PAGE = Path(__file__).resolve().parents[2] / "docs/reconciliation.md"


def test_the_rule_table_is_that_of_the_code() -> None:
    rows = [f"| `{kind}` | {rule.meaning} | {rule.action} |" for kind, rule in RULES.items()]
    assert "\n".join(["|---|---|---|", *rows, ""]) in PAGE.read_text()
