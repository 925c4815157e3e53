"""What counts as a break of the API, and what does not."""

from collections.abc import Callable
from typing import Any

import pytest
from openapi_changes import breaking_changes

Json = dict[str, Any]
Edit = Callable[[Json], Any]


def document() -> Json:
    order = {
        "type": "object",
        "additionalProperties": False,
        "required": ["kind"],
        "properties": {
            "kind": {"type": "string", "maxLength": 64},
            "priority": {"enum": ["high", "normal"], "type": "string"},
            "rate": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
        },
    }
    job = {
        "type": "object",
        "required": ["id", "error"],
        "properties": {
            "id": {"type": "string"},
            "state": {"type": "string", "enum": ["created", "failed"]},
            "error": {"anyOf": [{"$ref": "#/components/schemas/Error"}, {"type": "null"}]},
            "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Job"}},
        },
    }
    error = {"type": "object", "required": ["code"], "properties": {"code": {"type": "string"}}}
    problem: Json = {
        "content": {"application/problem+json": {"schema": {}, "examples": {"bad": {}, "worse": {}}}}
    }
    return {
        "paths": {
            "/jobs": {
                "post": {
                    "operationId": "submit",
                    "security": [{"key": []}, {"oauth": ["write"]}],
                    "parameters": [{"name": "Prefer", "in": "header", "schema": {"type": "string"}}],
                    "requestBody": {
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}
                    },
                    "responses": {
                        "200": {
                            "headers": {"ETag": {}},
                            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}},
                        },
                        "400": problem,
                    },
                },
                "get": {"operationId": "list", "responses": {"200": {}}},
            }
        },
        "components": {
            "schemas": {"Order": order, "Job": job, "Error": error},
            "examples": {"bad": {}, "worse": {}},
        },
    }


def post(one: Json) -> Json:
    found: Json = one["paths"]["/jobs"]["post"]
    return found


def schema(one: Json, name: str) -> Json:
    found: Json = one["components"]["schemas"][name]
    return found


def fields(one: Json, name: str) -> Json:
    found: Json = schema(one, name)["properties"]
    return found


BREAKING: dict[str, Edit] = {
    "operation": lambda one: one["paths"]["/jobs"].pop("get"),
    "path": lambda one: one["paths"].pop("/jobs"),
    "operation-id": lambda one: post(one).update(operationId="create"),
    "scope": lambda one: post(one).update(security=[{"key": []}, {"oauth": ["write", "admin"]}]),
    "way-in": lambda one: post(one).update(security=[{"oauth": ["write"]}]),
    "closed": lambda one: one["paths"]["/jobs"]["get"].update(security=[{"key": []}]),
    "parameter": lambda one: post(one)["parameters"].clear(),
    "parameter-required": lambda one: post(one)["parameters"][0].update(required=True),
    "parameter-added": lambda one: post(one)["parameters"].append(
        {"name": "New", "in": "header", "required": True}
    ),
    "body-required": lambda one: post(one)["requestBody"].update(required=True),
    "body": lambda one: post(one).pop("requestBody"),
    "field-required": lambda one: schema(one, "Order")["required"].append("priority"),
    "field-removed": lambda one: fields(one, "Order").pop("rate"),
    "request-enum": lambda one: fields(one, "Order")["priority"].update(enum=["normal"]),
    "request-length": lambda one: fields(one, "Order")["kind"].update(maxLength=32),
    "request-pattern": lambda one: fields(one, "Order")["kind"].update(pattern="^a"),
    "request-type": lambda one: fields(one, "Order")["kind"].update(type="integer"),
    "request-null": lambda one: fields(one, "Order").update(rate={"type": "integer", "minimum": 1}),
    "request-variant": lambda one: fields(one, "Order")["rate"]["anyOf"][0].update(minimum=2),
    "answer-field": lambda one: fields(one, "Job").pop("id"),
    "answer-optional": lambda one: schema(one, "Job")["required"].remove("id"),
    "answer-type": lambda one: fields(one, "Job")["id"].update(type="integer"),
    "answer-null": lambda one: fields(one, "Job").update(
        id={"anyOf": [{"type": "string"}, {"type": "null"}]}
    ),
    "answer-open": lambda one: fields(one, "Job")["state"].pop("enum"),
    "answer-inner": lambda one: fields(one, "Error").pop("code"),
    "answer-status": lambda one: post(one)["responses"].pop("200"),
    "answer-media-type": lambda one: post(one)["responses"]["200"]["content"].clear(),
    "answer-header": lambda one: post(one)["responses"]["200"]["headers"].clear(),
    "problem": lambda one: post(one)["responses"]["400"]["content"]["application/problem+json"][
        "examples"
    ].pop("bad"),
    "code": lambda one: one["components"]["examples"].pop("worse"),
}

HARMLESS: dict[str, Edit] = {
    "nothing": lambda _: None,
    "path": lambda one: one["paths"].update({"/more": {"get": {"responses": {}}}}),
    "parameter": lambda one: post(one)["parameters"].append({"name": "New", "in": "header"}),
    "field": lambda one: fields(one, "Order").update(note={"type": "string"}),
    "request-optional": lambda one: schema(one, "Order")["required"].clear(),
    "request-enum": lambda one: fields(one, "Order")["priority"]["enum"].append("low"),
    "request-length": lambda one: fields(one, "Order")["kind"].update(maxLength=128),
    "request-null": lambda one: fields(one, "Order").update(
        kind={"anyOf": [{"type": "string", "maxLength": 64}, {"type": "null"}]}
    ),
    "answer-field": lambda one: fields(one, "Job").update(more={"type": "string"}),
    "answer-enum": lambda one: fields(one, "Job")["state"]["enum"].append("paused"),
    "answer-never-null": lambda one: fields(one, "Job").update(error={"$ref": "#/components/schemas/Error"}),
    "answer-status": lambda one: post(one)["responses"].update({"429": {}}),
    "open": lambda one: post(one).update(security=[]),
    "code": lambda one: one["components"]["examples"].update(new={}),
}


@pytest.mark.parametrize("edit", BREAKING.values(), ids=BREAKING)
def test_a_broken_promise_is_found(edit: Edit) -> None:
    new = document()
    edit(new)
    assert breaking_changes(document(), new)


@pytest.mark.parametrize("edit", HARMLESS.values(), ids=HARMLESS)
def test_an_addition_breaks_nobody(edit: Edit) -> None:
    new = document()
    edit(new)
    assert breaking_changes(document(), new) == []


def test_a_break_is_said_with_its_place() -> None:
    new = document()
    fields(new, "Error").pop("code")
    assert breaking_changes(document(), new) == ["POST /jobs 200.error.code: removed"]
