"""What the description says of every operation, whichever it is; a new one has to say as much."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.app import Settings, create_app
from api.errors import Code
from api.reference.document import operations
from api.reference.texts import PATH_PARAMETERS, SCOPES, TAGS
from relayer.tenants.scopes import Scope

Json = dict[str, Any]


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
        assert name.split()[1].startswith("/v1") == bool(operation["security"]), f"{name}: who may call it?"
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
            content = body.get("content", {}).get("application/json")
            if content is None or status == "503":
                continue
            schema = content["schema"] | {"components": document["components"]}
            found = [*Draft202012Validator(schema).iter_errors(content["example"])]
            assert not found, f"{name} {status}: {found[0].message}"


def test_every_problem_is_a_code_of_its_status(document: Json) -> None:
    for name, operation in each(document):
        assert "500" in operation["responses"], name
        for status, response in operation["responses"].items():
            codes = response.get("content", {}).get("application/problem+json", {}).get("examples", {})
            assert int(status) < 400 or codes or status == "503", (
                f"{name}: say by which codes it gives {status}"
            )
            for code in codes:
                assert Code[code.upper()].value.status == int(status)
                assert f"`{code}`" in response["description"] or status == "503"
            assert "Request-Id" in response["headers"]
        if operation["security"]:
            assert operation["responses"].keys() >= {"401", "403", "503"}, name


def test_references_lead_somewhere(document: Json) -> None:
    text = str(document)
    for kind, name in re.findall(r"'#/components/(\w+)/([\w-]+)'", text):
        assert name in document["components"][kind]
    ids = {operation["operationId"] for _, operation in each(document)}
    for _, operation in each(document):
        for response in operation["responses"].values():
            for link in response.get("links", {}).values():
                assert link["operationId"] in ids
