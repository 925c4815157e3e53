"""The reference of the API as a page, made of its description."""

import json
from html import escape
from typing import Any

from api.errors import HELP_PATH, MEDIA_TYPE
from api.reference.document import OAUTH, operations
from api.reference.html import contents, inline, markdown, table

Json = dict[str, Any]


def reference(document: Json) -> tuple[str, str, str]:
    """Write the whole reference: its title, its table of contents and itself, the last two as HTML."""
    sections: dict[str, dict[str, str]] = {
        "Jobseal": {"#main": "Overview", HELP_PATH: "Errors", "/openapi.json": "OpenAPI"}
    }
    bodies: dict[str, list[str]] = {}
    for path, method, operation in operations(document):
        tag = operation["tags"][0]
        sections.setdefault(tag, {})[f"#{operation['operationId']}"] = operation["summary"]
        bodies.setdefault(tag, []).append(_operation(path, method, operation))
    schemas = document["components"]["schemas"]
    sections["bodies"] = {f"#{name}": name for name in schemas}
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}
    info = document["info"]
    main = f"<h1>{escape(info['title'])} API</h1><p class=soft>Version {escape(info['version'])}</p>"
    main += markdown(info["description"])
    for tag in [*(name for name in tags if name in bodies), *(name for name in bodies if name not in tags)]:
        main += f"<h2>{escape(tag.capitalize())}</h2>{markdown(tags.get(tag, ''))}{''.join(bodies[tag])}"
    main += "<h2>Bodies</h2>" + "".join(_schema(name, schema) for name, schema in schemas.items())
    return f"{info['title']} API", contents(sections), main


def _operation(path: str, method: str, operation: Json) -> str:
    scopes = [scope for way in operation["security"] for scope in way.get(OAUTH, ())]
    scope = f'<span class="scope">scope <code>{escape(scopes[0])}</code></span>' if scopes else ""
    text = operation["description"].partition("\n\nScope: ")[0]
    name = escape(operation["operationId"])
    head = (
        f'<section aria-labelledby="{name}"><h3 id="{name}">{escape(operation["summary"])}</h3>'
        f'<p class="call"><span class="method {method}">{method.upper()}</span>'
        f"<code>{escape(path)}</code> {scope}</p>{markdown(text)}"
    )
    parts = [head]
    if operation.get("parameters"):
        rows = [_parameter(one) for one in operation["parameters"]]
        parts.append(f"<h4>Parameters</h4>{table(['name', 'type', 'meaning'], rows)}")
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h4>Body: <code>{escape(media_type)}</code> {_type(content['schema'])}</h4>")
        parts.append(_example(content))
    rows = [[f"<code>{status}</code>", *_answer(one)] for status, one in operation["responses"].items()]
    parts.append(f"<h4>Answers</h4>{table(['status', 'body', 'meaning'], rows)}")
    parts += [
        f"<details><summary>Example of {status}</summary>{_example(content)}</details>"
        for status, answer in operation["responses"].items()
        for content in answer.get("content", {}).values()
        if "example" in content
    ]
    return "".join(parts) + "</section>"


def _parameter(parameter: Json) -> list[str]:
    need = ' <span class="need">required</span>' if parameter.get("required") else ""
    return [
        f"<code>{escape(parameter['name'])}</code><br><span class=soft>{parameter['in']}</span>{need}",
        _type(parameter["schema"]),
        inline(parameter.get("description", "")),
    ]


def _answer(answer: Json) -> list[str]:
    bodies = []
    text: str = answer["description"]
    explained: list[str] = []
    for media_type, content in answer.get("content", {}).items():
        if media_type == MEDIA_TYPE:
            bodies.append('<a href="#ProblemBody">problem</a>')
            codes = content.get("examples", {})
            explained = [f'<a href="{HELP_PATH}/{code}"><code>{code}</code></a>' for code in codes]
            # What stands behind the links need not stand here.
            lines = text.splitlines()
            text = "\n".join(line for line in lines if line[3:].partition("`")[0] not in codes)
        else:
            bodies.append(_type(content["schema"]) if content.get("schema") else f"<code>{media_type}</code>")
    meaning = (markdown(text) if text.strip() else "") + ", ".join(explained)
    names = [
        name
        for name in answer.get("headers", {})
        if name not in {"Request-Id", "Link", "RateLimit-Policy", "RateLimit"}
    ]
    if names:
        meaning += f'<p class="soft">Headers: {", ".join(f"<code>{name}</code>" for name in names)}</p>'
    return [", ".join(bodies), meaning]


def _schema(name: str, schema: Json) -> str:
    required = schema.get("required", ())
    rows = [
        [
            f"<code>{escape(field)}</code>"
            + (' <span class="need">required</span>' if field in required else ""),
            _type(part),
            inline(part.get("description", "")),
        ]
        for field, part in schema.get("properties", {}).items()
    ]
    values = ", ".join(f"<code>{escape(str(value))}</code>" for value in schema.get("enum", ()))
    body = table(["field", "type", "meaning"], rows) if rows else f"<p>{values}</p>"
    return f'<section><h3 id="{name}">{name}</h3>{markdown(schema.get("description", ""))}{body}</section>'


def _type(schema: Json) -> str:
    """Name a schema in a few words, with a link where it is a body of its own."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum") or [schema["const"]]
        return " | ".join(f"<code>{escape(json.dumps(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    limits = [
        f"{word} {schema[name]}"
        for name, word in (
            ("minimum", "≥"),
            ("maximum", "≤"),
            ("minLength", "length ≥"),
            ("maxLength", "length ≤"),
        )
        if name in schema
    ]
    text = " ".join([schema.get("format") or schema.get("type") or "any JSON", *limits])
    return escape(text)


def _example(content: Json) -> str:
    if "example" not in content:
        return ""
    return f"<pre tabindex=0><code>{escape(json.dumps(content['example'], indent=2, ensure_ascii=False))}</code></pre>"
