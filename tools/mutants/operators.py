"""Mutation operators for Solidity.

Each takes the place of a node and yields the edits that it knows for it. An edit need not compile, but one that could
never behave otherwise than the original only costs whoever has to explain why it lives.
"""

from collections.abc import Iterator
from itertools import combinations

from mutants.edits import Edit, between, replace, swap
from mutants.syntax import Node, Place, is_value, name_span, span, type_of

_ARITHMETIC = {
    "+": ["-"],
    "-": ["+"],
    "*": ["/", "+"],
    "/": ["*"],
    "%": ["/"],
    "**": ["*"],
    "<<": [">>"],
    ">>": ["<<"],
    "&": ["|", "^"],
    "|": ["&", "^"],
    "^": ["&", "|"],
}
_COMPARISONS = {
    "<": ["<=", "!=", ">="],
    ">": [">=", "!=", "<="],
    "<=": ["<", "==", ">"],
    ">=": [">", "==", "<"],
    "==": ["!=", "<=", ">="],
    "!=": ["==", "<", ">"],
}
_LOGIC = {"&&": "||", "||": "&&"}

# What is left, where the other operand left out means something: `a - b` is `a` without `b`, but not `b` without `a`.
_KEEPS_EITHER = {"+", "*", "&", "|", "^", "&&", "||"}

_COMPOUND = {
    "+=": ["-=", "="],
    "-=": ["+=", "="],
    "*=": ["/=", "="],
    "/=": ["*=", "="],
    "%=": ["/=", "="],
    "<<=": [">>=", "="],
    ">>=": ["<<=", "="],
    "&=": ["|=", "="],
    "|=": ["&=", "^=", "="],
    "^=": ["&=", "|=", "="],
}

_SURROUNDINGS = {
    "msg.sender": "tx.origin",
    "block.timestamp": "block.number",
    "block.chainid": "block.number",
    "address(this)": "msg.sender",
}


def binary_operation(place: Place) -> Iterator[Edit]:
    """Another operator, or one operand alone; the operands of `&&` and `||` as conditions."""
    node, operator = place.node, place.node["operator"]
    left, right = node["leftExpression"], node["rightExpression"]
    if operator in _COMPARISONS:
        others = _COMPARISONS[operator]
        if operator in {"==", "!="} and not _can_order(node):
            others = others[:1]
        yield from (between(place, left, right, operator, other) for other in others)
        return
    if operator in _LOGIC:
        yield between(place, left, right, operator, _LOGIC[operator])
        yield from _as_condition(left)
        yield from _as_condition(right)
    else:
        yield from (between(place, left, right, operator, other) for other in _ARITHMETIC[operator])
    yield replace(node, place.source.text(left))
    if operator in _KEEPS_EITHER:
        yield replace(node, place.source.text(right))


def _can_order(comparison: Node) -> bool:
    """Whether the operands are numbers that may be less and more: nothing is less than an unsigned zero."""
    numeric = "int" in comparison["commonType"]["typeString"]
    return numeric and comparison["rightExpression"].get("value") != "0"


def unary_operation(place: Place) -> Iterator[Edit]:
    """`!`, `~` and `-` left out, `++` and `--` for each other."""
    node, operator = place.node, place.node["operator"]
    operand = place.source.text(node["subExpression"])
    if operator in {"++", "--"}:
        other = {"++": "--", "--": "++"}[operator]
        yield replace(node, other + operand if node["prefix"] else operand + other)
    elif operator != "delete":
        yield replace(node, operand)


def literal(place: Place) -> Iterator[Edit]:
    """A number one up and one down, the other truth value, another string."""
    node, text = place.node, place.source.text(place.node)
    if node["kind"] == "number" and "." not in text and node.get("subdenomination") is None:
        value, width = int(node["value"].replace("_", ""), 0), len(text)
        for other in (value + 1, value - 1):
            if other >= 0:
                # As wide as it was: it may be the value of a `bytes32`.
                yield replace(node, f"{other:#0{width}x}" if text.startswith("0x") else str(other))
    elif node["kind"] == "bool":
        yield replace(node, "false" if node["value"] == "true" else "true")
    elif node["kind"] == "hexString" and node["hexValue"]:
        yield replace(node, f'hex"{int(node["hexValue"], 16) ^ 1:0{len(node["hexValue"])}x}"')
    elif node["kind"] == "string":
        yield replace(node, '"?"' if node["value"] == "" else '""')


def assignment(place: Place) -> Iterator[Edit]:
    """Another compound operator, or the default for the value; leaving the assignment out is the statement's."""
    node, left, right = place.node, place.node["leftHandSide"], place.node["rightHandSide"]
    for other in _COMPOUND.get(node["operator"], ()):
        yield between(place, left, right, node["operator"], other)
    if node["operator"] == "=":
        yield from _defaults(place, right)


def function_call(place: Place) -> Iterator[Edit]:
    """The default for each argument, also of events, errors and hashes, and two of one type swapped."""
    yield from _surroundings(place)
    if place.node["kind"] == "functionCall" and type_of(place.node["expression"]) != "type":
        yield from _arguments(place)


def modifier(place: Place) -> Iterator[Edit]:
    """A function without it; a constructor of a base is none."""
    if place.node.get("kind") != "baseConstructorSpecifier":
        yield replace(place.node, "")
        yield from _arguments(place)


def _arguments(place: Place) -> Iterator[Edit]:
    arguments = place.node.get("arguments") or []
    for argument in arguments:
        yield from _defaults(place, argument)
    for left, right in combinations(arguments, 2):
        if type_of(left) == type_of(right):
            yield swap(place, left, right)


def condition(place: Place) -> Iterator[Edit]:
    """A condition that always or never holds: without the latter, what it guards."""
    if place.node.get("condition"):
        yield from _as_condition(place.node["condition"])


def _as_condition(node: Node) -> Iterator[Edit]:
    yield replace(node, "true")
    yield replace(node, "false")


def conditional(place: Place) -> Iterator[Edit]:
    """The other choice, and the condition as one."""
    yield from condition(place)
    yield swap(place, place.node["trueExpression"], place.node["falseExpression"])


def statement(place: Place) -> Iterator[Edit]:
    """Left out."""
    start, end = span(place.node)
    rest = place.source.content[end:]
    if rest.lstrip()[:1] == b";":
        yield Edit(start, end + rest.index(b";") + 1, "{}")  # a statement alone may be the body of an `if`
    else:
        yield Edit(start, end, "")  # the step of a `for`


def return_statement(place: Place) -> Iterator[Edit]:
    """The default is returned, and for a truth value the other one too."""
    value = place.node.get("expression")
    if value is not None:
        yield from _defaults(place, value)
        if type_of(value) == "bool":
            yield from _as_condition(value)


def declaration(place: Place) -> Iterator[Edit]:
    """The variable begins with its default."""
    if place.node.get("initialValue"):
        yield from _defaults(place, place.node["initialValue"])


def identifier(place: Place) -> Iterator[Edit]:
    """Another local variable of the same type instead of one, another constant instead of a constant."""
    node = place.node
    if is_value(type_of(node)) and not _is_assigned(place):
        for other in place.alternatives:
            if type_of(other) == type_of(node):
                yield replace(node, other["name"])


def _is_assigned(place: Place) -> bool:
    parent = place.around[-1]
    return (
        parent.get("leftHandSide") is place.node
        or (parent["nodeType"] == "TupleExpression" and parent["lValueRequested"])
        or parent.get("operator") in {"++", "--"}
    )


def member_access(place: Place) -> Iterator[Edit]:
    """Another member of the same type, the maximum less one, something else that surrounds the call."""
    node = place.node
    yield from _surroundings(place)
    if node["memberName"] == "max" and type_of(node["expression"]).startswith("type("):
        yield replace(node, f"({place.source.text(node)} - 1)")
    for other in place.source.siblings.get(node.get("referencedDeclaration", 0), ()):
        yield Edit(*name_span(node), other)


def _surroundings(place: Place) -> Iterator[Edit]:
    if other := _SURROUNDINGS.get(place.source.text(place.node)):
        yield replace(place.node, other)


def _defaults(place: Place, node: Node) -> Iterator[Edit]:
    """The default of the expression's type, where it has one that can be written; of each part of a tuple."""
    if node["nodeType"] == "TupleExpression" and len(node["components"]) > 1:
        for component in node["components"]:
            yield from _defaults(place, component)
        return
    default = _default(place, node)
    if default is not None:
        yield replace(node, default)


def _default(place: Place, node: Node) -> str | None:
    kind = type_of(node)
    if node["nodeType"] == "Literal":  # which has its own operator
        return None
    if kind == "bool":
        return "false"
    if is_value(kind):
        return "payable(address(0))" if kind == "address payable" else f"{kind}(0)"
    if kind.endswith("[] calldata") or kind == "bytes calldata":
        return place.source.text(node) + "[:0]"
    if kind.endswith("[] memory"):
        return f"new {kind.removesuffix(' memory').removeprefix('struct ')}(0)"
    return '""' if kind in {"string memory", "bytes memory"} else None


OPERATORS = {
    "Assignment": assignment,
    "BinaryOperation": binary_operation,
    "Conditional": conditional,
    "DoWhileStatement": condition,
    "EmitStatement": statement,
    "ExpressionStatement": statement,
    "ForStatement": condition,
    "FunctionCall": function_call,
    "Identifier": identifier,
    "IfStatement": condition,
    "Literal": literal,
    "MemberAccess": member_access,
    "ModifierInvocation": modifier,
    "Return": return_statement,
    "UnaryOperation": unary_operation,
    "VariableDeclarationStatement": declaration,
    "WhileStatement": condition,
}
