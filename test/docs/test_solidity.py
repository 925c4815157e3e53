"""The Solidity in the docs is that of contracts which forge compiles and tests."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONTRACTS = sorted((ROOT / "contracts").rglob("*.sol"))

SOLIDITY = re.compile(r"^```solidity\n(.*?)^```$", re.MULTILINE | re.DOTALL)

SNIPPETS = [
    pytest.param(snippet, id=f"{page.name}:{number}")
    for page in PAGES
    for number, snippet in enumerate(SOLIDITY.findall(page.read_text()))
]


def is_excerpt(snippet: str, source: str) -> bool:
    """Whether the snippet is a run of whole lines of the source, but for their common indentation."""
    wanted, lines = snippet.splitlines(), source.splitlines()
    return any(
        dedent("\n".join(lines[start : start + len(wanted)])).splitlines() == wanted
        for start in range(len(lines) - len(wanted) + 1)
    )


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_every_snippet_is_an_excerpt_of_a_contract(snippet: str) -> None:
    assert any(is_excerpt(snippet, contract.read_text()) for contract in CONTRACTS)


def test_the_page_on_receipts_has_a_snippet() -> None:
    assert any(parameter.id == "receipt.md:0" for parameter in SNIPPETS)


def test_a_changed_line_is_no_excerpt() -> None:
    source = "contract A {\n    function f() {\n        g();\n    }\n}\n"
    assert is_excerpt("function f() {\n    g();\n}\n", source)
    assert not is_excerpt("function f() {\n    h();\n}\n", source)
    assert not is_excerpt("f() {\n    g();\n}\n", source)
