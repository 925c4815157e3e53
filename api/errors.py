"""Every error the API answers with: one append-only list of codes, one body (RFC 9457).

`api.explanations` explains each code; a code once published keeps its meaning and its status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:jobseal:problem:"
HELP_PATH = "/docs/errors"
"""Where the page of a code is served."""


@dataclass(frozen=True, slots=True)
class Definition:
    """What is the same for every problem of a code; `retryable`: the same request may succeed later."""

    status: int
    title: str
    retryable: bool = False


class Code(Enum):
    """The codes; the name in lower case is what the body carries."""

    BAD_REQUEST = Definition(400, "The request is malformed")
    INVALID_JSON = Definition(400, "The body is not strict JSON")
    INVALID_PARAMETER = Definition(400, "A query parameter or header is invalid")
    INVALID_PAGE_TOKEN = Definition(400, "The page token does not belong to this list")
    IDEMPOTENCY_KEY_REQUIRED = Definition(400, "The Idempotency-Key header is missing")
    INVALID_IDEMPOTENCY_KEY = Definition(400, "The Idempotency-Key header is malformed")
    API_KEY_MISSING = Definition(401, "An API key is required")
    API_KEY_INVALID = Definition(401, "The API key is not valid")
    ACCESS_TOKEN_INVALID = Definition(401, "The access token is not valid")
    INSUFFICIENT_SCOPE = Definition(403, "The API key does not have the scope")
    ADDRESS_NOT_ALLOWED = Definition(403, "The API key may not be used from this address")
    PRIVILEGE_EXCEEDED = Definition(403, "A key may not allow more than the key that makes it")
    TENANT_SUSPENDED = Definition(403, "The tenant is suspended")
    NOT_FOUND = Definition(404, "There is nothing at this address")
    JOB_NOT_FOUND = Definition(404, "There is no such job")
    REDRIVE_NOT_FOUND = Definition(404, "There is no such redrive")
    BLOB_NOT_FOUND = Definition(404, "There is no such blob")
    KEY_NOT_FOUND = Definition(404, "There is no such API key")
    TENANT_NOT_FOUND = Definition(404, "There is no such tenant")
    KIND_CAP_NOT_FOUND = Definition(404, "The kind has no cap of its own")
    OUTPUT_NOT_READY = Definition(404, "The job has no output yet", retryable=True)
    OUTPUT_ABSENT = Definition(404, "The job ended without an output")
    RECEIPT_NOT_READY = Definition(404, "The job is not confirmed yet", retryable=True)
    RECEIPT_ABSENT = Definition(404, "The job ended without being confirmed")
    METHOD_NOT_ALLOWED = Definition(405, "The method is not allowed here")
    REQUEST_TIMEOUT = Definition(408, "The request came too slowly", retryable=True)
    JOB_ALREADY_ENDED = Definition(409, "The job has come to an end")
    JOB_NOT_ENDED = Definition(409, "The job has not come to an end yet", retryable=True)
    BLOB_IN_USE = Definition(409, "A job still needs the blob")
    STORAGE_FULL = Definition(409, "The tenant's storage is full")
    KEY_ENDED = Definition(409, "The API key has expired or is revoked")
    KEY_LIMIT_REACHED = Definition(409, "The tenant has as many live API keys as it may")
    TENANT_NAME_TAKEN = Definition(409, "Another tenant has the name")
    OPERATOR_TENANT = Definition(409, "The tenant is the platform's own")
    OUTPUT_DELETED = Definition(410, "The job's output was deleted")
    PRECONDITION_FAILED = Definition(412, "It was changed meanwhile")
    BODY_TOO_LARGE = Definition(413, "The body is too large")
    UNSUPPORTED_MEDIA_TYPE = Definition(415, "The media type is not supported")
    INVALID_BODY = Definition(422, "The body does not fit the schema")
    UNKNOWN_KIND = Definition(422, "There is no such kind of job")
    INVALID_INPUT = Definition(422, "The input does not fit the kind of job")
    UNKNOWN_BLOB = Definition(422, "The input names an unknown blob")
    IDEMPOTENCY_KEY_REUSED = Definition(422, "The idempotency key was used for another request")
    WAITING_CAP_REACHED = Definition(429, "As many jobs wait as may", retryable=True)
    RATE_LIMITED = Definition(429, "Requests come faster than they may", retryable=True)
    QUOTA_EXCEEDED = Definition(429, "A quota of the tenant is used up", retryable=True)
    TOO_MANY_FAILURES = Definition(429, "Too many requests had an invalid key", retryable=True)
    TOO_MANY_STREAMS = Definition(429, "As many streams are open as may", retryable=True)
    HEADERS_TOO_LARGE = Definition(431, "The header is too large")
    REQUEST_FAILED = Definition(400, "The request failed")
    INTERNAL_ERROR = Definition(500, "The platform made a mistake", retryable=True)
    SERVICE_UNAVAILABLE = Definition(503, "A part of the platform is away", retryable=True)
    TEMPORARILY_REDUCED_CAPACITY = Definition(503, "Less is accepted than usual", retryable=True)
    DEADLINE_EXCEEDED = Definition(503, "The answer took too long", retryable=True)

    @property
    def slug(self) -> str:
        """The code as the body carries it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a request: a JSON Pointer (RFC 6901) into the body, or the name of a parameter."""

    code: str
    detail: str
    pointer: str | None = None
    parameter: str | None = None

    def to_dict(self) -> dict[str, str]:
        """The fault as the body carries it."""
        place = {"pointer": self.pointer} if self.pointer is not None else {"parameter": self.parameter or ""}
        return {**place, "code": self.code, "detail": self.detail}


MOST_FAULTS = 50
"""Faults that a problem tells one by one."""


class ProblemError(Exception):
    """A request that ends with a problem document; `detail` is for the caller's eyes.

    Of more than `MOST_FAULTS` faults the first are kept, and a last one, `more`, says how many there are besides.
    """

    def __init__(
        self,
        code: Code,
        detail: str,
        faults: Sequence[Fault] = (),
        *,
        meta: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.faults = _some_of(faults)
        self.meta = meta or {}
        self.headers = {"Link": f'<{HELP_PATH}/{code.slug}>; rel="help"'} | dict(headers or {})
        self.status = status or code.value.status

    def body(self, request: Request) -> dict[str, Any]:
        """The problem document of this problem, as an answer to a request."""
        return self.document(request.url.path, request.state.request_id)

    def document(self, instance: str, request_id: str) -> dict[str, Any]:
        """The problem document of this problem, for the path and the id of a request."""
        definition = self.code.value
        return {
            "type": f"{TYPE_PREFIX}{self.code.slug}",
            "title": definition.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code.slug,
            "request_id": request_id,
            "retryable": definition.retryable,
            "errors": [fault.to_dict() for fault in self.faults],
            "meta": dict(self.meta),
        }

    def response(self, request: Request) -> Response:
        """Answer with the problem document."""
        return Response(orjson.dumps(self.body(request)), self.status, dict(self.headers), MEDIA_TYPE)


def _some_of(faults: Sequence[Fault]) -> Sequence[Fault]:
    if len(faults) <= MOST_FAULTS:
        return faults
    rest = f"{len(faults) - MOST_FAULTS} more faults; mend these, and send the request again to hear of them"
    where = None if faults[0].pointer is None else ""
    return [*faults[:MOST_FAULTS], Fault("more", rest, pointer=where)]
