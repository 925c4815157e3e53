"""Examples of bodies, put together from those that their schemas have."""

from typing import Any

Json = dict[str, Any]


class MissingExampleError(Exception):
    """A schema has no example, and nothing to make one of."""


def example_of(schema: Json, document: Json, where: str = "") -> Any:
    """Give a value that fits a schema: its own example, or one made of its parts.

    Args:
        schema: a JSON Schema, whose references point into the document.
        document: the OpenAPI description.
        where: names the schema in an error.

    Raises:
        MissingExampleError: a part has neither an example nor parts of its own.

    """
    own = [schema[name] for name in ("example", "const", "default") if name in schema]
    own[:0] = [schema[name][0] for name in ("examples", "enum") if schema.get(name)]
    if own:
        return own[0]
    if "$ref" in schema:
        return example_of(resolve(schema["$ref"], document), document, schema["$ref"].rpartition("/")[2])
    if "properties" in schema:
        return {
            name: example_of(part, document, f"{where}.{name}") for name, part in schema["properties"].items()
        }
    if "items" in schema:
        return [example_of(schema["items"], document, f"{where}[]")]
    for name in ("anyOf", "oneOf", "allOf"):
        if name in schema:
            return example_of(schema[name][0], document, where)
    raise MissingExampleError(
        f"{where or 'a body'} has no example: give its model one, as json_schema_extra={{'examples': […]}}"
    )


def complete_examples(document: Json) -> None:
    """Give the examples of the schemas their nulls again, which FastAPI leaves out, in the order of the fields."""
    for schema in document["components"]["schemas"].values():
        if "examples" in schema:
            schema["examples"] = [_complete(one, schema, document) for one in schema["examples"]]


def _complete(value: Any, schema: Json, document: Json) -> Any:
    while "$ref" in schema:
        schema = resolve(schema["$ref"], document)
    variants = schema.get("anyOf", ())
    for variant in variants:
        if value is not None and ("$ref" in variant or variant.get("type") in {"object", "array"}):
            return _complete(value, variant, document)
    if isinstance(value, list) and "items" in schema:
        return [_complete(item, schema["items"], document) for item in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    required = schema.get("required", ())
    return {
        name: _complete(value.get(name), part, document)
        for name, part in schema["properties"].items()
        if name in value or name in required
    }


def resolve(reference: str, document: Json) -> Json:
    """Give what a reference into the document, `#/a/b`, points at."""
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    described: Json = found
    return described
