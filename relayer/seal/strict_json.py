"""JSON that means the same to everybody: strict parsing (RFC 8259, RFC 7493) and one canonical form (RFC 8785)."""

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import rfc8785

from relayer.seal.json_pointer import below

MAX_DEPTH = 64
MAX_INTEGER = 2**53 - 1

JsonCode = Literal[
    "encoding", "syntax", "depth", "duplicate_key", "number", "surrogate", "not_canonical", "size"
]

# RFC 8785 writes an integral double below this bound without an exponent, hence as an integer.
_EXPONENT_FROM = 1e21
_LONGEST_INTEGER = len(str(-MAX_INTEGER))
# A string may lack its closing quote: then it swallows the rest, which keeps the scan linear.
_NESTING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)
# What begins or separates values: every comma, and every container that has a member.
_MEMBERS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|,|[\[{](?!\s*+[\]}])', re.DOTALL)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class JsonError(ValueError):
    """JSON that is refused.

    `code` is stable; `sentence` says what is wrong, the message also where. `pointer` (RFC 6901) names the value at
    fault; where the text does not parse at all it is None and `position` is the offset in bytes.
    """

    def __init__(
        self, code: JsonCode, sentence: str, *, pointer: str | None = None, position: int | None = None
    ) -> None:
        where = "" if position is None else f" at byte {position}"
        if pointer is not None:
            where = f" at {json.dumps(pointer)}" if pointer else " at the top level"
        super().__init__(f"{sentence}{where}")
        self.code = code
        self.sentence = sentence
        self.pointer = pointer
        self.position = position


@dataclass(frozen=True, slots=True)
class _Flaw:
    """Stands in the parsed tree where a value was refused, so that a walk finds its pointer."""

    code: JsonCode
    sentence: str
    key: str | None = None


class _Hooks:
    """What the decoder calls for each object and number; `flawed` tells whether any call refused."""

    def __init__(self) -> None:
        self.flawed = False

    def members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Flaw:
        value = dict(pairs)
        if len(value) == len(pairs):
            return value
        counts = Counter(key for key, _ in pairs)
        repeated = next(key for key, count in counts.items() if count > 1)
        return self._refuse("duplicate_key", "the object names a key twice", repeated)

    def integer(self, token: str) -> int | _Flaw:
        if len(token) <= _LONGEST_INTEGER and abs(value := int(token)) <= MAX_INTEGER:
            return value
        return self._refuse("number", "the integer is beyond ±(2^53 - 1)")

    def real(self, token: str) -> float | _Flaw:
        value = float(token)
        if math.isinf(value):
            return self._refuse("number", "the number is beyond the range of a double")
        if MAX_INTEGER < abs(value) < _EXPONENT_FROM:
            return self._refuse("number", "the number is an integer beyond ±(2^53 - 1)")
        return value

    def constant(self, token: str) -> _Flaw:
        return self._refuse("number", f"{token} is not JSON")

    def _refuse(self, code: JsonCode, sentence: str, key: str | None = None) -> _Flaw:
        self.flawed = True
        return _Flaw(code, sentence, key)


def parse_json(data: bytes, max_values: int | None = None) -> Any:
    """The value of a JSON text in UTF-8, without anything that two parsers could read differently.

    Refused: duplicate keys, integers beyond ±(2^53 - 1) however they are spelt, numbers that overflow a double, NaN and
    Infinity, lone surrogates, more than 64 levels of nesting, more than `max_values` values (of which containers are, and keys are not). Whatever
    passes survives `canonical_json` unchanged.

    Raises:
        JsonError: with the place and a stable code.

    """
    text = _text(data, MAX_DEPTH)
    if max_values is not None and _has_more_values(text, max_values):
        raise _too_many(max_values)
    value, may_be_flawed = _decode(text)
    if may_be_flawed:
        _refuse_flaws(value, "")
    return value


def parse_json_list(
    data: bytes, member: str, max_values: int | None = None
) -> tuple[Any, dict[int, JsonError]]:
    """Read an object whose `member` is a list, each item of which is judged as if it came alone.

    Returns:
        The value, and by position what `parse_json` would have raised for an item; such an item's value is None.

    Raises:
        JsonError: the text does not parse (an item may have 64 levels, the text two more), or is flawed elsewhere.

    """
    text = _text(data, MAX_DEPTH + 2)
    may_be_large = max_values is not None and _has_more_values(text, max_values)
    value, may_be_flawed = _decode(text)
    errors: dict[int, JsonError] = {}
    if may_be_flawed or may_be_large:
        items = value.get(member) if isinstance(value, dict) else None
        for position, item in enumerate(items if isinstance(items, list) else []):
            try:
                if max_values is not None and may_be_large and _left_of(max_values, item) < 0:
                    raise _too_many(max_values)
                _refuse_flaws(item, "")
            except JsonError as error:
                errors[position] = error
        for position in errors:
            value[member][position] = None
        if max_values is not None and may_be_large:
            rest = {**value, member: None} if isinstance(items, list) else value
            if _left_of(max_values, rest) < 0:
                raise _too_many(max_values)
        _refuse_flaws(value, "")
    return value, errors


def _text(data: bytes, max_depth: int) -> str:
    """Give the text, if it is one that may be parsed."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise JsonError("encoding", "the text is not UTF-8", position=error.start) from None
    _refuse_depth(text, max_depth)
    return text


def _decode(text: str) -> tuple[Any, bool]:
    """Give the value, and whether a walk over it might find a flaw."""
    hooks = _Hooks()
    decoder = json.JSONDecoder(
        object_pairs_hook=hooks.members,
        parse_int=hooks.integer,
        parse_float=hooks.real,
        parse_constant=hooks.constant,
    )
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as error:
        raise JsonError("syntax", f"not JSON: {error.msg}", position=_offset(text, error.pos)) from None
    return value, hooks.flawed or _SURROGATE_ESCAPE.search(text) is not None


def canonical_json(value: Any) -> bytes:
    """The RFC 8785 form of a value, in UTF-8.

    Raises:
        JsonError: `not_canonical`, for what JSON cannot carry exactly (NaN, large integers, surrogates, other types).

    """
    try:
        if _is_plain(value):
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        return rfc8785.dumps(value)
    except (
        rfc8785.CanonicalizationError,
        orjson.JSONEncodeError,
        UnicodeEncodeError,
        RecursionError,
    ) as error:
        raise JsonError("not_canonical", f"the value has no canonical JSON form ({error})") from None


def _is_plain(value: Any) -> bool:
    """Whether any writer that sorts keys writes RFC 8785: without reals, and with keys that sort alike in UTF-8 and UTF-16."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-MAX_INTEGER <= value <= MAX_INTEGER)
    if kind is list:
        return all(map(_is_plain, value))
    return kind is dict and all(type(key) is str and key.isascii() and _is_plain(value[key]) for key in value)


def _refuse_depth(text: str, max_depth: int) -> None:
    """Runs before the parser, whose own recursion it thereby bounds."""
    if text.count("[") + text.count("{") <= max_depth:
        return
    depth = 0
    for token in _NESTING.finditer(text):
        mark = token.group()[0]
        if mark in "[{":
            depth += 1
            if depth > max_depth:
                raise JsonError(
                    "depth", f"nested deeper than {max_depth} levels", position=_offset(text, token.start())
                )
        elif mark in "]}":
            depth -= 1


def _has_more_values(text: str, most: int) -> bool:
    """Runs before the parser as well: what the values of a text take is many times what the text takes."""
    if text.count(",") + text.count("[") + text.count("{") < most:
        return False
    left = most - 1
    for token in _MEMBERS.finditer(text):
        if token.group()[0] != '"':
            left -= 1
            if left < 0:
                return True
    return False


def _left_of(most: int, value: Any) -> int:
    """How many more values there might be; below 0, by however much, where there are too many already."""
    left = most - 1
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            if left < 0:
                break
            left = _left_of(left, item)
    return left


def _too_many(most: int) -> JsonError:
    return JsonError("size", f"more than {most} values; send large contents as a blob", pointer="")


def _refuse_flaws(value: Any, pointer: str) -> None:
    """Walks the tree, whose depth is bounded, to the first flaw in document order."""
    match value:
        case _Flaw(code, sentence, key):
            raise JsonError(code, sentence, pointer=pointer if key is None else _below(pointer, key))
        case str() if _SURROGATE.search(value):
            raise JsonError("surrogate", "the string holds a lone surrogate", pointer=pointer)
        case list():
            for position, item in enumerate(value):
                _refuse_flaws(item, _below(pointer, str(position)))
        case dict():
            for key, item in value.items():
                if _SURROGATE.search(key):
                    raise JsonError(
                        "surrogate", "the key holds a lone surrogate", pointer=_below(pointer, key)
                    )
                _refuse_flaws(item, _below(pointer, key))


def _below(pointer: str, key: str) -> str:
    """A lone surrogate cannot be written in UTF-8, so the pointer shows U+FFFD in its place."""
    return below(pointer, _SURROGATE.sub("\ufffd", key))


def _offset(text: str, position: int) -> int:
    return len(text[:position].encode())
