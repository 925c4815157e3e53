"""What the description says of every operation, whichever it is; a new one has to say as much."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.app import Settings, create_app
from api.errors import Code
from api.oauth.schemas import ERRORS
from api.reference.document import operations
from api.reference.examples import resolve
from api.reference.texts import PATH_PARAMETERS, SCOPES, TAGS
from relayer.tenants.scopes import Scope

Json = dict[str, Any]

OF_CLIENTS = {"POST /oauth/token", "POST /oauth/revoke"}
"""What shows a client's secret in place of a key."""


@pytest.fixture(scope="module")
def document(offline_settings: Settings) -> Json:
    return create_app(offline_settings).openapi()


def each(document: Json) -> Iterator[tuple[str, Json]]:
    for path, method, operation in operations(document):
        yield f"{method.upper()} {path}", operation


def test_every_operation_says_what_a_client_generator_needs(document: Json) -> None:
    ids = [operation["operationId"] for _, operation in each(document)]
    assert len(set(ids)) == len(ids)
    for name, operation in each(document):
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation["operationId"]), (
            f"{name}: give it an operation_id such as get_job"
        )
        assert operation["summary"], f"{name}: give it a summary"
        assert operation["description"], f"{name}: give its function a docstring"
        assert operation["tags"], f"{name}: give its router a tag"
        assert TAGS.keys() >= {*operation["tags"]}, f"{name}: describe its tag in api/reference/texts.py"
        is_guarded = name.split()[1].startswith("/v1") or name in OF_CLIENTS
        assert is_guarded == bool(operation["security"]), f"{name}: who may call it?"
        for parameter in operation.get("parameters", ()):
            assert parameter["description"], f"{name}: describe {parameter['name']}"
            if parameter["in"] == "path":
                _, pattern, example = PATH_PARAMETERS[parameter["name"]]
                assert re.search(pattern, example)


def test_every_scope_is_described() -> None:
    assert SCOPES.keys() == {*Scope}


def test_every_body_has_an_example_that_fits_it(document: Json) -> None:
    for name, operation in each(document):
        bodies = {"request": operation.get("requestBody", {})} | operation["responses"]
        for status, body in bodies.items():
            for media_type, content in body.get("content", {}).items():
                schema = content.get("schema", {}) | {"components": document["components"]}
                for example in examples(media_type, content, document):
                    found = [*Draft202012Validator(schema).iter_errors(example)]
                    assert not found, f"{name} {status}: {found[0].message}"


def examples(media_type: str, content: Json, document: Json) -> Iterator[Any]:
    """Give every example of a body, of which JSON has to have one."""
    named = content.get("examples", {}).values()
    shown = [(one if "value" in one else resolve(one["$ref"], document))["value"] for one in named]
    shown += [content["example"]] if "example" in content else []
    assert shown or not media_type.endswith("json") or not content.get("schema")
    yield from shown


def test_every_problem_is_a_code_of_its_status(document: Json) -> None:
    for name, operation in each(document):
        assert operation["responses"].keys() >= {"431", "500", "503"}, name
        for status, response in operation["responses"].items():
            content = response.get("content", {})
            codes = content.get("application/problem+json", {}).get("examples", {})
            errors = content.get("application/json", {}).get("examples", {})
            assert int(status) < 400 or codes or errors, f"{name}: say by which codes it gives {status}"
            for code in codes:
                assert Code[code.upper()].value.status == int(status)
            for error in errors:
                assert name in OF_CLIENTS
                assert int(status) in {ERRORS[error][0], 408, 413}
            for code in (*codes, *errors):
                assert f"`{code}`" in response["description"]
            assert "Request-Id" in response["headers"]
            assert ("Retry-After" in response["headers"]) >= (status in {"429", "503"})
        if operation["security"]:
            assert operation["responses"].keys() >= {"401", "429"}, name
            limited = operation["responses"]["429"]["content"]["application/problem+json"]["examples"]
            assert limited.keys() >= {"rate_limited", "too_many_failures"}
            assert "RateLimit" in min(operation["responses"].items())[1]["headers"]
        if operation["security"] and name not in OF_CLIENTS:
            assert "403" in operation["responses"], name


def test_references_lead_somewhere(document: Json) -> None:
    text = str(document)
    for kind, name in re.findall(r"'#/components/(\w+)/([\w-]+)'", text):
        assert name in document["components"][kind]
    ids = {operation["operationId"] for _, operation in each(document)}
    for _, operation in each(document):
        for response in operation["responses"].values():
            for link in response.get("links", {}).values():
                assert link["operationId"] in ids
