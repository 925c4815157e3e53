"""`docs/reference/job-states.md` tells of every state, transition, reason and actor that the code has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from relayer.model.lifecycle import TERMINAL, TRANSITIONS, JobState

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/job-states.md").read_text()

# Functions whose first argument becomes the reason of a job that failed or was refused.
_MAKERS_OF_REASONS = {"Failure", "JobFailedError", "JobRejectedError"}


def table(heading: str) -> list[list[str]]:
    """Give the rows of the first table under a heading, without the table's own."""
    text = re.split(r"^#+ ", PAGE.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in text.splitlines()
        if line[:1] == "|"
    ]
    return rows[2:]


def names(heading: str) -> set[str]:
    return {row[0].strip("`") for row in table(heading)}


def texts(node: ast.expr | None, module: ast.Module) -> Iterator[str]:
    """Give the texts that an expression may have: literals, the sides of a choice, and names of such."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=one, orelse=other):
            yield from texts(one, module)
            yield from texts(other, module)
        case ast.Name(id=name):
            for statement in ast.walk(module):
                if isinstance(statement, ast.Assign) and any(
                    isinstance(target, ast.Name) and target.id == name for target in statement.targets
                ):
                    yield from texts(statement.value, module)


def written(keyword: str) -> set[str]:
    """Give every text that the relayer passes as a step's actor or reason."""
    found: set[str] = set()
    for path in (ROOT / "relayer").rglob("*.py"):
        module = ast.parse(path.read_text())
        for call in ast.walk(module):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.id if isinstance(call.func, ast.Name) else ""
            if name in {"Change", "_step", "move_some"}:
                for given in call.keywords:
                    if given.arg == keyword:
                        found |= set(texts(given.value, module))
            elif keyword == "reason" and name in _MAKERS_OF_REASONS and call.args:
                found |= set(texts(call.args[0], module))
    return found


def in_sql() -> set[str]:
    """Give the reasons that statements write or compute."""
    migrations = sorted((ROOT / "relayer/store/migrations/versions").glob("*.sql"))
    *_, held_by = (
        held_by
        for path in migrations
        for held_by in re.findall(r"CHECK \(held_by IN \(([^)]*)\)", path.read_text())
    )
    found = set(re.findall(r"'(\w+)'", held_by))
    for path in (ROOT / "relayer/jobs").glob("*repository.py"):
        source = path.read_text()
        found |= set(re.findall(r"status_reason = '(\w+)'", source))
        found |= set(re.findall(r"THEN '(\w+)' ELSE j\.status_reason", source))
        found |= set(re.findall(r"'created', '(\w+)',\s+n\.input", source))
    return found


def test_every_state_is_documented() -> None:
    rows = {row[0].strip("`"): row for row in table("States")}
    assert rows.keys() == set(JobState)
    ends = {state for state, row in rows.items() if len(row) > 2 and row[2]}
    assert ends == TERMINAL


def test_every_transition_is_documented_and_no_other() -> None:
    rows = [(row[0].strip("`"), row[1].strip("`")) for row in table("Transitions")]
    assert len(rows) == len(set(rows))
    assert set(rows) == {(str(source), str(target)) for source, target in TRANSITIONS}


def test_every_reason_is_documented() -> None:
    reasons = written("reason") | in_sql()
    # What the search has to find, or it has lost its way.
    assert {
        "queued",
        "scheduled",
        "unknown_kind",
        "kind_cap",
        "total_limit",
        "cancel_forced",
        "run_limit",
    } < reasons
    documented = {
        heading: names(heading)
        for heading in (
            "Why a job waits (`created`)",
            "Why a job failed (`failed`)",
            "Why a job was cancelled (`cancelled`)",
        )
    }
    assert reasons == set().union(*documented.values())


def test_every_actor_is_documented() -> None:
    actors = written("actor")
    assert {"worker", "batcher"} < actors
    # The API writes the first step by itself; a redrive's actor is the key that asked.
    assert "'api'" in (ROOT / "relayer/jobs/submission_repository.py").read_text()
    assert names("Actors") == actors | {"api", "key_…"}


@pytest.mark.parametrize("page", ["api.md", "errors.md", "job-states.md"])
def test_links_between_the_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / "docs/reference" / page).read_text()
    links = re.findall(r"\]\(([\w.-]*)(?:#([\w-]+))?\)", text)
    assert links
    for name, anchor in links:
        target = (ROOT / "docs/reference" / (name or page)).read_text()
        headings = {
            re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", target, re.MULTILINE)
        }
        assert not anchor or anchor in headings
