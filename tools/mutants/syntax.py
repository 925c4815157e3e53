"""The syntax trees that solc gives, and the text they stand for."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Node = dict[str, Any]

# Types, names and prose: nothing in them is executed.
_SKIPPED = {"documentation", "overrides", "typeName", "baseContracts"}


@dataclass(frozen=True)
class Source:
    """One Solidity file: its text, in which the tree's positions count bytes, and its syntax tree.

    `siblings` has for each struct member of the whole program, by the id of its declaration, the names of the other
    members of the same type.
    """

    path: str
    content: bytes
    tree: Node
    siblings: Mapping[int, list[str]]

    def text(self, node: Node) -> str:
        """What `node` looks like in the file."""
        start, end = span(node)
        return self.slice(start, end)

    def slice(self, start: int, end: int) -> str:
        """The text from byte `start` to before byte `end`."""
        return self.content[start:end].decode()

    def line(self, at: int) -> int:
        """The line, counted from 1, of the byte `at`."""
        return self.content.count(b"\n", 0, at) + 1


@dataclass(frozen=True)
class Place:
    """A node with the nodes around it, the file's root first."""

    node: Node
    around: tuple[Node, ...]
    source: Source

    @cached_property
    def name(self) -> str:
        """``Contract.function`` or ``Contract.CONSTANT``; overloads name their parameters too."""
        contract = next(node for node in self.around if node["nodeType"] == "ContractDefinition")
        member = self.member or contract
        name = member.get("name") or member.get("kind", "")
        overloads = [node for node in contract["nodes"] if node.get("name") == member.get("name")]
        if len(overloads) > 1:
            parameters = member["parameters"]["parameters"]
            name += "(" + ", ".join(parameter["name"] for parameter in parameters) + ")"
        return f"{contract['name']}.{name}"

    @property
    def member(self) -> Node | None:
        """The function, modifier or state variable that holds the node."""
        chain = (*self.around, self.node)
        at = next(i for i, node in enumerate(chain) if node["nodeType"] == "ContractDefinition")
        return chain[at + 1] if at + 1 < len(chain) else None

    @property
    def alternatives(self) -> list[Node]:
        """What could be read instead of the variable that this node names.

        That is, for a local one, the others that are declared before; else the constants of the contract.
        """
        contract = next(node for node in self.around if node["nodeType"] == "ContractDefinition")
        inside = (place.node for place in walk(self.member or contract, self.source))
        local = [node for node in inside if node["nodeType"] == "VariableDeclaration"]
        declared = self.node["referencedDeclaration"]
        if declared in {node["id"] for node in local}:
            found = [node for node in local if span(node)[0] < span(self.node)[0]]
        else:
            found = [node for node in contract["nodes"] if node.get("constant")]
        return [node for node in found if node["id"] != declared and node["name"]]


def span(node: Node) -> tuple[int, int]:
    """First byte of a node and the one after its last."""
    return _positions(node["src"])


def name_span(node: Node) -> tuple[int, int]:
    """The same for the member's name in an access like `a.b`."""
    return _positions(node["memberLocation"])


def _positions(src: str) -> tuple[int, int]:
    start, length, _ = map(int, src.split(":"))
    return start, start + length


def nodes_of(node: Node) -> Iterator[Node]:
    """A node and all that is executed in it."""
    yield node
    for child in children(node):
        yield from nodes_of(child)


def walk(node: Node, source: Source, around: tuple[Node, ...] = ()) -> Iterator[Place]:
    """The same, each with its place."""
    yield Place(node, around, source)
    for child in children(node):
        yield from walk(child, source, (*around, node))


def children(node: Node) -> Iterator[Node]:
    """The nodes directly in `node`, but for those that nothing executes."""
    for key, value in node.items():
        if key not in _SKIPPED:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, dict) and "nodeType" in child:
                    yield child


def struct_siblings(trees: Iterable[Node]) -> dict[int, list[str]]:
    """What `Source.siblings` wants."""
    siblings = {}
    for struct in (
        node for tree in trees for node in nodes_of(tree) if node["nodeType"] == "StructDefinition"
    ):
        for member in struct["members"]:
            siblings[member["id"]] = [
                other["name"]
                for other in struct["members"]
                if other is not member and type_of(other) == type_of(member)
            ]
    return siblings


def type_of(node: Node) -> str:
    """The type of an expression or variable as solc writes it, for instance `uint64` or `bytes32[] memory`."""
    return str(node["typeDescriptions"]["typeString"])


def is_value(solidity_type: str) -> bool:
    """Whether values of a type are copied when assigned and fit one stack slot."""
    return re.fullmatch(r"u?int\d+|bytes\d+|address( payable)?|bool", solidity_type) is not None
