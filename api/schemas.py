"""What endpoints say of themselves in the OpenAPI description: bodies, headers, links, and the problems they end with.

An endpoint names things; `api.reference.document` writes them out.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from api.errors import Code

PROBLEM_CODES = "x-problem-codes"
"""Where `problems` leaves its codes for the description to be made of; the description itself does not have it."""

CLIENT_SECRET = "clientSecret"  # noqa: S105 - the name of a security scheme
OF_CLIENTS: dict[str, Any] = {"security": [{CLIENT_SECRET: []}, {}]}
"""For `openapi_extra` of what OAuth clients ask: they show their secret by HTTP Basic, or in the form."""

SCHEMA_REF = "#/components/schemas/{model}"

REQUEST_HEADERS: dict[str, dict[str, Any]] = {
    "Idempotency-Key": {
        "description": "1 to 255 printable ASCII characters, bare or as a quoted string, a new one for each new request: "
        "the same key with the same body has one effect. Kept for 7 days.",
        "schema": {
            "type": "string",
            "pattern": r'^("([ !#-\[\]-~]|\\["\\]){1,255}"|[!#-~]([ -~]{0,253}[!-~])?)$',
        },
        "example": "order-17",
    },
    "If-Match": {
        "description": "The `ETag` of the state that was seen: 412 where it is another by now.",
        "schema": {"type": "string"},
        "example": '"3"',
    },
    "If-None-Match": {
        "description": "An `ETag` of an earlier answer: 304 while it still holds.",
        "schema": {"type": "string"},
        "example": '"1-5d41402abc4b2a76b9719d911017c592"',
    },
    "Prefer": {
        "description": "`wait=N` (RFC 7240): hold the answer back for N seconds, at most 30, until there is news. "
        "Other preferences are ignored.",
        "schema": {"type": "string"},
        "example": "wait=20",
    },
    "Last-Event-ID": {
        "description": "The `id` of the last event that was seen: the stream begins behind it.",
        "schema": {"type": "string", "pattern": "^[0-9]{0,9}$"},
        "example": "3",
    },
}

RESPONSE_HEADERS: dict[str, dict[str, Any]] = {
    "Request-Id": {
        "description": "Names this request; say it when you ask for help.",
        "schema": {"type": "string"},
    },
    "Location": {"description": "Where the thing that was made is.", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "When to ask again, in seconds.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "ETag": {
        "description": "Names this state of the resource, for `If-None-Match` and `If-Match`.",
        "schema": {"type": "string"},
    },
    "Cache-Control": {
        "description": "Who may keep the answer, and for how long (RFC 9111).",
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "`true` where an earlier request with the same key had the effect.",
        "schema": {"type": "string", "const": "true"},
    },
    "Preference-Applied": {
        "description": "The preference that was honoured (RFC 7240).",
        "schema": {"type": "string"},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate, or which scope is needed (RFC 6750).",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": "The limits that hold for the caller (draft-ietf-httpapi-ratelimit-headers).",
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": "What is left of them (draft-ietf-httpapi-ratelimit-headers).",
        "schema": {"type": "string"},
    },
    "Link": {"description": "The page that explains the problem (RFC 8288).", "schema": {"type": "string"}},
}


class FaultBody(BaseModel):
    """One thing wrong with the request, at a JSON Pointer of the body or in a named parameter."""

    pointer: str | None = None
    parameter: str | None = None
    code: str
    detail: str


class ProblemBody(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    """`urn:jobseal:problem:` and the code."""
    title: str
    """What the code means, always the same."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong with this request, and the remedy."""
    instance: str
    """The path of the request."""
    code: str
    """The stable name to program against."""
    request_id: str
    """Also in the header `Request-Id`; name it when you ask for help."""
    retryable: bool
    """Whether the same request may succeed later without a change."""
    errors: list[FaultBody]
    """Each fault of the request."""
    meta: dict[str, Any]
    """The values that `detail` speaks of, for programs."""


def request_body(
    model: type[BaseModel] | None,
    *,
    key: bool | None = None,
    headers: Sequence[str] = (),
    media_types: Sequence[str] = ("application/json",),
) -> dict[str, Any]:
    """Describe what an endpoint reads by itself, for `openapi_extra`.

    Args:
        model: its JSON body.
        key: whether an Idempotency-Key is required, or only welcome; None where it is not read.
        media_types: what the body may be sent as.
        headers: other headers that it reads, of `REQUEST_HEADERS`.

    """
    described: dict[str, Any] = {}
    if model is not None:
        schema = model.model_json_schema(ref_template=SCHEMA_REF)
        content = {media_type: {"schema": schema} for media_type in media_types}
        described["requestBody"] = {"required": True, "content": content}
    given = [*headers] if key is None else ["Idempotency-Key", *headers]
    if given:
        described["parameters"] = [
            {"name": name, "in": "header", "required": name == "Idempotency-Key" and bool(key)}
            | REQUEST_HEADERS[name]
            for name in given
        ]
    return described


def headers(*names: str) -> dict[str, Any]:
    """Describe headers of an answer, of `RESPONSE_HEADERS`, as part of an entry of `responses`."""
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}


def links(**targets: tuple[str, str, str]) -> dict[str, Any]:
    """Describe where an answer leads, as part of an entry of `responses`.

    Args:
        targets: by name the operation, its parameter, and the expression for its value: `$response.body#/id`.

    """
    return {
        "links": {
            name: {"operationId": operation, "parameters": {parameter: expression}}
            for name, (operation, parameter, expression) in targets.items()
        }
    }


def problems(*of: Code) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that are an endpoint's own, for `responses`.

    Those that any endpoint may end with are added to every one: of authentication, of rates, of deadlines, of parts that
    are away.
    """
    return {
        status: {
            "description": "",  # the codes and their titles
            PROBLEM_CODES: [code.slug for code in Code if code in of and code.value.status == status],
        }
        for status in sorted({code.value.status for code in of})
    }
