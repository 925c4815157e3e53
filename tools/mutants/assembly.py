"""Mutation operators for inline assembly."""

from collections.abc import Iterator
from itertools import pairwise

from mutants.edits import Edit, replace, swap
from mutants.syntax import Node, Place, span

_OTHER_FUNCTIONS = {
    "add": "sub",
    "sub": "add",
    "mul": "add",
    "div": "mul",
    "mod": "div",
    "and": "or",
    "or": "and",
    "xor": "or",
    "shl": "shr",
    "shr": "shl",
    "lt": "gt",
    "gt": "lt",
    "eq": "lt",
    "mstore": "mstore8",
}
_COMMUTATIVE = {"add", "mul", "and", "or", "xor", "eq"}


def function_call(place: Place) -> Iterator[Edit]:
    """Another instruction, each operand zero, operands in another order, `not` and `iszero` left out."""
    name, arguments = place.node["functionName"], place.node["arguments"]
    if other := _OTHER_FUNCTIONS.get(name["name"]):
        yield replace(name, other)
    if name["name"] in {"not", "iszero"}:
        yield replace(place.node, place.source.text(arguments[0]))
    for argument in arguments:
        yield from _zero(argument)
    if name["name"] not in _COMMUTATIVE:
        for left, right in pairwise(arguments):
            yield swap(place, left, right)


def literal(place: Place) -> Iterator[Edit]:
    """A number one up and one down."""
    if place.node["kind"] == "number":
        value = int(place.node["value"], 0)
        for other in (value + 1, value - 1):
            if other >= 0:
                yield replace(place.node, hex(other))


def assignment(place: Place) -> Iterator[Edit]:
    """Nothing, or zero, is assigned."""
    yield replace(place.node, "")
    yield from _zero(place.node["value"])


def variable_declaration(place: Place) -> Iterator[Edit]:
    """The variable begins as zero."""
    if place.node["value"] is not None:
        yield from _zero(place.node["value"])


def expression_statement(place: Place) -> Iterator[Edit]:
    """Left out."""
    yield replace(place.node, "")


def condition(place: Place) -> Iterator[Edit]:
    """A condition that always or never holds."""
    test = place.node["condition"]
    yield replace(test, "1")
    yield replace(test, "0")


def _zero(node: Node) -> Iterator[Edit]:
    if node.get("value") not in {"0", "0x00"}:
        yield Edit(*span(node), "0")


OPERATORS = {
    "YulFunctionCall": function_call,
    "YulLiteral": literal,
    "YulAssignment": assignment,
    "YulVariableDeclaration": variable_declaration,
    "YulExpressionStatement": expression_statement,
    "YulIf": condition,
    "YulForLoop": condition,
}
