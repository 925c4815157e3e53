"""Makes the mutants of the contracts, each with a name that other edits leave as it is."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from mutants import assembly, operators
from mutants.edits import Edit
from mutants.syntax import Place, Source, span, walk

_OPERATORS = operators.OPERATORS | assembly.OPERATORS

# A name shows the largest part around an edit that is no longer than this and holds no other statement.
_MOST_CONTEXT = 100
_NO_CONTEXT = {
    "SourceUnit",
    "ContractDefinition",
    "FunctionDefinition",
    "ModifierDefinition",
    "InlineAssembly",
}


@dataclass(frozen=True)
class Mutant:
    """One changed file. `name` is ``Contract.function: code ⟨before → after⟩ code``, with ``#2`` for the second such.

    `line` is where the change is, from 1; `content` is the whole file with it.
    """

    name: str
    path: str
    line: int
    content: bytes

    @property
    def digest(self) -> str:
        """Of the path and the changed file."""
        return hashlib.sha256(self.path.encode() + b"\0" + self.content).hexdigest()


def mutants_of(source: Source) -> list[Mutant]:
    """All mutants of a file, in the order of their places; two edits that make the same text are one mutant."""
    found: dict[bytes, tuple[Edit, Place]] = {}
    for place in walk(source.tree, source):
        for edit in _OPERATORS.get(place.node["nodeType"], _nothing)(place):
            content = source.content[: edit.start] + edit.text.encode() + source.content[edit.end :]
            if content != source.content:
                found.setdefault(content, (edit, place))

    seen: Counter[str] = Counter()
    mutants = []
    for content, (edit, place) in sorted(found.items(), key=lambda item: item[1][0]):
        name = f"{place.name}: {_describe(edit, place)}"
        seen[name] += 1
        if seen[name] > 1:
            name += f" #{seen[name]}"
        mutants.append(Mutant(name, source.path, source.line(edit.start), content))
    return mutants


def _nothing(_: Place) -> Iterator[Edit]:
    return iter(())


def _describe(edit: Edit, place: Place) -> str:
    source = place.source
    start, end = _context(edit, place)
    before, after = source.slice(edit.start, edit.end), edit.text
    marked = (
        f"{source.slice(start, edit.start)}⟨{before} → {after}⟩{source.slice(edit.end, max(end, edit.end))}"
    )
    return " ".join(marked.split())


def _context(edit: Edit, place: Place) -> tuple[int, int]:
    for node in (*place.around, place.node):
        start, end = span(node)
        text = " ".join(place.source.slice(start, end).split())
        if (
            node["nodeType"] not in _NO_CONTEXT
            and not node["nodeType"].endswith("Block")
            and "{" not in text.replace("{}", "")
            and len(text) <= _MOST_CONTEXT
            and start <= edit.start
        ):
            return start, end
    return edit.start, edit.end
