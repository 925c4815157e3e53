"""The problem document as the OpenAPI description shows it, and which problems a resource may answer with."""

from typing import Any

from pydantic import BaseModel

from api.errors import MEDIA_TYPE


class FaultBody(BaseModel):
    """One thing wrong with the request, at a JSON Pointer of the body or in a named parameter."""

    pointer: str | None = None
    parameter: str | None = None
    code: str
    detail: str


class ProblemBody(BaseModel):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    retryable: bool
    errors: list[FaultBody]
    meta: dict[str, Any]


def request_body(model: type[BaseModel] | None, *, key: bool | None = None) -> dict[str, Any]:
    """Describe the JSON body that an endpoint reads by itself, and its Idempotency-Key, where `key` says it needs one."""
    described: dict[str, Any] = {}
    if model is not None:
        schema = model.model_json_schema()
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if key is not None:
        header = {"name": "Idempotency-Key", "in": "header", "required": key, "schema": {"type": "string"}}
        described["parameters"] = [header]
    return described


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems of an endpoint, those of authentication and of an absent database included."""
    schema = {"$ref": "#/components/schemas/ProblemBody"}
    return {
        status: {"model": ProblemBody, "description": "Problem", "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in sorted({401, 403, 503, *statuses})
    }
