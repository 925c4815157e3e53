# noqa: INP001 - a script's part, not part of a package
"""Finds what of a new OpenAPI description breaks programs that were written against an old one.

What a client sends may be taken more widely, what it is given may say more: so a field of a request may be added
unless it is required, and a field of an answer may be added always. New values of an enumeration in an answer are no
break, as clients are told to expect them. `docs/versioning.md` is the policy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
Direction = Literal["request", "answer"]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")


def breaking_changes(old: Json, new: Json) -> list[str]:
    """Give a line for each change that breaks a client; none where the new description holds all promises."""
    return [*_Comparison(old, new).of_documents()]


@dataclass
class _Comparison:
    old: Json
    new: Json
    _open: set[tuple[str, str, Direction]] = field(default_factory=set)

    def of_documents(self) -> Iterator[str]:
        for path, item in self.old["paths"].items():
            for method in METHODS:
                if method not in item:
                    continue
                name = f"{method.upper()} {path}"
                after = self.new["paths"].get(path, {}).get(method)
                if after is None:
                    yield f"{name}: removed"
                else:
                    yield from self._of_operations(item[method], after, name)
        for code in _component(self.old, "examples").keys() - _component(self.new, "examples").keys():
            yield f"problem code {code}: removed"

    def _of_operations(self, before: Json, after: Json, name: str) -> Iterator[str]:
        if before.get("operationId") != after.get("operationId"):
            yield f"{name}: operationId {before.get('operationId')} became {after.get('operationId')}"
        if not _admits(before.get("security", []), after.get("security", [])):
            yield f"{name}: who could call it before cannot any more"
        yield from self._of_parameters(before.get("parameters", ()), after.get("parameters", ()), name)
        yield from self._of_requests(before.get("requestBody"), after.get("requestBody"), name)
        for status, answer in before["responses"].items():
            later = after["responses"].get(status)
            if later is None and status.startswith(("2", "3")):
                yield f"{name}: answer {status} removed"
            elif later is not None:
                yield from self._of_answers(answer, later, f"{name} {status}")

    def _of_parameters(self, before: Sequence[Json], after: Sequence[Json], name: str) -> Iterator[str]:
        earlier = {(one["in"], one["name"].lower()): one for one in before}
        later = {(one["in"], one["name"].lower()): one for one in after}
        for key, one in earlier.items():
            where = f"{name}: {one['in']} parameter {one['name']}"
            if key not in later:
                yield f"{where}: removed"
                continue
            if later[key].get("required") and not one.get("required"):
                yield f"{where}: became required"
            yield from self._of_schemas(one.get("schema", {}), later[key].get("schema", {}), "request", where)
        for key, one in later.items():
            if key not in earlier and one.get("required"):
                yield f"{name}: {one['in']} parameter {one['name']}: added as required"

    def _of_requests(self, before: Json | None, after: Json | None, name: str) -> Iterator[str]:
        if before is None:
            if after is not None and after.get("required"):
                yield f"{name}: body: added as required"
            return
        if after is None:
            yield f"{name}: body: removed"
            return
        if after.get("required") and not before.get("required"):
            yield f"{name}: body: became required"
        yield from self._of_contents(before, after, "request", f"{name} body")

    def _of_answers(self, before: Json, after: Json, name: str) -> Iterator[str]:
        for header in before.get("headers", {}).keys() - after.get("headers", {}).keys():
            yield f"{name}: header {header}: removed"
        yield from self._of_contents(before, after, "answer", name)

    def _of_contents(self, before: Json, after: Json, direction: Direction, name: str) -> Iterator[str]:
        for media_type, content in before.get("content", {}).items():
            later = after.get("content", {}).get(media_type)
            if later is None:
                yield f"{name}: media type {media_type}: removed"
                continue
            yield from self._of_schemas(content.get("schema", {}), later.get("schema", {}), direction, name)
            if "problem" in media_type:
                for code in content.get("examples", {}).keys() - later.get("examples", {}).keys():
                    yield f"{name}: problem {code}: removed"

    def _of_schemas(self, before: Json, after: Json, direction: Direction, where: str) -> Iterator[str]:
        names = (before.get("$ref", ""), after.get("$ref", ""), direction)
        if names in self._open:
            return
        is_named = names[:2] != ("", "")
        before, after = _resolved(before, self.old), _resolved(after, self.new)
        if is_named:
            self._open.add(names)
        yield from self._of_variants(before, after, direction, where)
        if is_named:
            self._open.discard(names)

    def _of_variants(self, before: Json, after: Json, direction: Direction, where: str) -> Iterator[str]:
        earlier, later = _variants(before), _variants(after)
        if len(earlier) == len(later) == 1:
            yield from self._of_plain(earlier[0], later[0], direction, where)
            return
        # Whatever could be sent must still be taken; whatever is given must have been possible before.
        must, may = (earlier, later) if direction == "request" else (later, earlier)
        for one in must:
            pairs = [(one, other) if direction == "request" else (other, one) for other in may]
            fits = [[*self._of_schemas(*pair, direction, where)] for pair in pairs]
            if all(fits):
                verb = "is not taken" if direction == "request" else "is given"
                yield from min(fits, key=len) if len(must) == len(may) else [f"{where}: {_said(one)} {verb}"]

    def _of_plain(self, before: Json, after: Json, direction: Direction, where: str) -> Iterator[str]:
        yield from self._of_values(before, after, direction, where)
        yield from self._of_objects(before, after, direction, where)
        for part in ("items", "additionalProperties"):
            one, other = before.get(part), after.get(part)
            if isinstance(one, dict) and isinstance(other, dict):
                yield from self._of_schemas(one, other, direction, f"{where}[]")
        if direction == "request":
            yield from _narrowed(before, after, where)

    def _of_values(self, before: Json, after: Json, direction: Direction, where: str) -> Iterator[str]:
        types = _types(before), _types(after)
        sent, taken = types if direction == "request" else types[::-1]
        if taken and (not sent or sent - taken - ({"integer"} if "number" in taken else set())):
            yield f"{where}: type {_list(types[0])} became {_list(types[1])}"
        values = _values(before), _values(after)
        if direction == "request" and values[1] is not None:
            gone = {"anything"} if values[0] is None else values[0] - values[1]
            if gone:
                yield f"{where}: {_list(gone)} is not taken any more"
        if direction == "answer" and values[0] is not None and values[1] is None:
            yield f"{where}: the enumeration became open"

    def _of_objects(self, before: Json, after: Json, direction: Direction, where: str) -> Iterator[str]:
        earlier, later = before.get("properties", {}), after.get("properties", {})
        had, has = {*before.get("required", ())}, {*after.get("required", ())}
        for name, part in earlier.items():
            at = f"{where}.{name}"
            if name not in later:
                yield f"{at}: removed"
                continue
            yield from self._of_schemas(part, later[name], direction, at)
            if direction == "answer" and name in had - has:
                yield f"{at}: may be absent now"
        if direction == "request":
            for name in sorted(has - had):
                yield f"{where}.{name}: became required"
            if (
                after.get("additionalProperties") is False
                and before.get("additionalProperties", True) is not False
            ):
                yield f"{where}: other fields are not taken any more"


def _narrowed(before: Json, after: Json, where: str) -> Iterator[str]:
    for name in (*_UPPER, *_LOWER):
        if name in after and after[name] != before.get(name):
            was, now = before.get(name), after[name]
            if was is None or (now < was if name in _UPPER else now > was):
                yield f"{where}: {name} {was} became {now}"
    for name in ("pattern", "format"):
        if name in after and after[name] != before.get(name):
            yield f"{where}: {name} {before.get(name)} became {after[name]}"


def _admits(before: Sequence[Json], after: Sequence[Json]) -> bool:
    """Whether each way to be let in before is a way still; nothing demanded lets everybody in."""
    ways = [{(name, scope) for name, scopes in one.items() for scope in scopes or [""]} for one in after]
    earlier = [{(name, scope) for name, scopes in one.items() for scope in scopes or [""]} for one in before]
    return not ways or all(any(way <= had for way in ways) for had in earlier or [set()])


def _resolved(schema: Json, document: Json) -> Json:
    while "$ref" in schema:
        kind, name = schema["$ref"].removeprefix("#/components/").split("/")
        schema = document["components"][kind][name]
    return schema


def _component(document: Json, kind: str) -> Json:
    found: Json = document.get("components", {}).get(kind, {})
    return found


def _variants(schema: Json) -> list[Json]:
    found: list[Json] = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return found


def _types(schema: Json) -> set[str]:
    given = schema.get("type", [])
    return {given} if isinstance(given, str) else {*given}


def _values(schema: Json) -> set[str] | None:
    if "const" in schema:
        return {str(schema["const"])}
    return {str(value) for value in schema["enum"]} if "enum" in schema else None


def _said(schema: Json) -> str:
    return str(schema.get("$ref") or schema.get("type") or schema.get("const") or "another form")


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "anything"
