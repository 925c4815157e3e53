"""Turns every exception that ends a request into its problem document."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from math import ceil
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.admin.problems import PROBLEMS as ADMIN_PROBLEMS
from api.errors import Code, Fault, ProblemError
from api.jobs.schemas import ID_PREFIX
from api.methods import allowed_methods
from relayer.jobs.blob_references import to_reference
from relayer.jobs.errors import (
    BlobInUseError,
    BlobNotFoundError,
    InvalidInputError,
    JobEndedError,
    JobNotEndedError,
    OutputDeletedError,
    QuotaExceededError,
    StorageFullError,
    WaitingCapError,
)
from relayer.model.errors import (
    IdempotencyKeyReusedError,
    JobsealError,
    UnavailableError,
    UnknownBlobError,
    UnknownKindError,
)
from relayer.model.ids import to_public
from relayer.store.blobs import BlobTooLargeError
from relayer.tenants.errors import (
    AddressNotAllowedError,
    KeyEndedError,
    KeyLimitError,
    KeyNotFoundError,
    PrivilegeError,
    TenantError,
    TenantSuspendedError,
)

RETRY_AFTER_S = 2
# A waiting room empties as fast as jobs run; this spares the client a refusal a moment later.
_ROOM_RETRY_AFTER_S = 5
_END_RETRY_AFTER_S = 1

_BY_STATUS = {
    404: Code.NOT_FOUND,
    413: Code.BODY_TOO_LARGE,
    415: Code.UNSUPPORTED_MEDIA_TYPE,
    422: Code.INVALID_BODY,
    500: Code.INTERNAL_ERROR,
    503: Code.SERVICE_UNAVAILABLE,
}


def install(app: FastAPI) -> None:
    """Give the application a handler for each kind of error."""
    for kind, to_problem in _PROBLEMS.items():
        app.add_exception_handler(kind, _handler(to_problem))
    app.add_exception_handler(HTTPStatus.METHOD_NOT_ALLOWED, _method_not_allowed)


def problem_of(error: JobsealError) -> ProblemError:
    """The problem that a service's error is answered with."""
    to_problem = _PROBLEMS.get(type(error))
    return internal_error() if to_problem is None else to_problem(error)


def internal_error() -> ProblemError:
    """The problem of an exception that nothing foresaw; it says nothing of the inside."""
    return ProblemError(
        Code.INTERNAL_ERROR, "the request failed inside the platform; its operator finds it by the request id"
    )


def _handler(
    to_problem: Callable[[Any], ProblemError],
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        return to_problem(error).response(request)

    return handle


async def _method_not_allowed(request: Request, _: Exception) -> Response:
    """Name the methods of every route of the path; the framework names those of the first."""
    problem = ProblemError(
        Code.METHOD_NOT_ALLOWED,
        "this resource does not take this method; see the Allow header",
        headers={"Allow": allowed_methods(request.app, request.url.path)},
    )
    return problem.response(request)


def _framework(error: HTTPException) -> ProblemError:
    code = _BY_STATUS.get(error.status_code, Code.REQUEST_FAILED)
    is_path = code is Code.NOT_FOUND
    detail = "no resource has this path; the paths are listed at /docs" if is_path else str(error.detail)
    return ProblemError(code, detail, headers=error.headers or {}, status=error.status_code)


def _validation(error: RequestValidationError) -> ProblemError:
    """Bodies are parsed by the endpoints themselves: what arrives here is a query parameter."""
    faults = [
        Fault(item["type"], item["msg"], parameter=".".join(str(part) for part in item["loc"][1:]))
        for item in error.errors()
    ]
    names = ", ".join(fault.parameter or "" for fault in faults)
    return ProblemError(Code.INVALID_PARAMETER, f"invalid: {names}", faults)


def _unavailable(_: UnavailableError) -> ProblemError:
    """Addresses of the inside are for the operator, at /health/ready."""
    return ProblemError(
        Code.SERVICE_UNAVAILABLE,
        "a part of the platform does not answer; try again with the same Idempotency-Key",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def _unknown_kind(error: UnknownKindError) -> ProblemError:
    fault = Fault("unknown_kind", str(error), pointer="/kind")
    return ProblemError(
        Code.UNKNOWN_KIND, str(error), [fault], meta={"kind": error.kind, "known": error.known}
    )


def _invalid_input(error: InvalidInputError) -> ProblemError:
    faults = [Fault(code, detail, pointer=pointer) for pointer, code, detail in error.errors]
    return ProblemError(Code.INVALID_INPUT, str(error), faults)


def _unknown_blob(error: UnknownBlobError) -> ProblemError:
    fault = Fault("unknown_blob", str(error), pointer=error.pointer)
    return ProblemError(Code.UNKNOWN_BLOB, str(error), [fault], meta={"blob": error.reference})


def _key_reused(error: IdempotencyKeyReusedError) -> ProblemError:
    return ProblemError(Code.IDEMPOTENCY_KEY_REUSED, str(error), meta={"idempotency_key": error.key})


def _blob_too_large(error: BlobTooLargeError) -> ProblemError:
    return ProblemError(Code.BODY_TOO_LARGE, str(error), meta={"max_bytes": error.max_bytes})


def _waiting_cap(error: WaitingCapError) -> ProblemError:
    return ProblemError(
        Code.WAITING_CAP_REACHED,
        str(error),
        meta={"cap": error.cap},
        headers={"Retry-After": str(_ROOM_RETRY_AFTER_S)},
    )


def _quota_exceeded(error: QuotaExceededError) -> ProblemError:
    meta = {
        "violated_policies": [error.meter],
        "meter": error.meter,
        "used": ceil(error.used),
        "limit": ceil(error.cap),
        "resets_at": f"{error.resets_at:%Y-%m-%dT%H:%M:%SZ}",
    }
    wait = max(1, ceil(error.retry_after.total_seconds()))
    return ProblemError(Code.QUOTA_EXCEEDED, str(error), meta=meta, headers={"Retry-After": str(wait)})


def _job_ended(error: JobEndedError) -> ProblemError:
    meta = {"state": error.job.state.value, "billed": error.job.result_ready_at is not None}
    return ProblemError(Code.JOB_ALREADY_ENDED, str(error), meta=meta)


def _job_not_ended(error: JobNotEndedError) -> ProblemError:
    return ProblemError(
        Code.JOB_NOT_ENDED,
        str(error),
        meta={"state": error.job.state.value},
        headers={"Retry-After": str(_END_RETRY_AFTER_S)},
    )


def _blob_not_found(error: BlobNotFoundError) -> ProblemError:
    return ProblemError(Code.BLOB_NOT_FOUND, str(error))


def _blob_in_use(error: BlobInUseError) -> ProblemError:
    return ProblemError(Code.BLOB_IN_USE, str(error), meta={"job": to_public(ID_PREFIX, error.job_id)})


def _storage_full(error: StorageFullError) -> ProblemError:
    return ProblemError(Code.STORAGE_FULL, str(error), meta={"used": error.used, "cap": error.cap})


def _output_deleted(error: OutputDeletedError) -> ProblemError:
    return ProblemError(Code.OUTPUT_DELETED, str(error), meta={"blob": to_reference(error.output_hash)})


def _tenant(error: TenantError) -> ProblemError:
    faults = [] if error.member is None else [Fault("invalid", str(error), pointer=f"/{error.member}")]
    return ProblemError(Code.INVALID_BODY, str(error), faults)


def _address_not_allowed(error: AddressNotAllowedError) -> ProblemError:
    return ProblemError(Code.ADDRESS_NOT_ALLOWED, str(error), meta={"address": error.address})


def _privilege(error: PrivilegeError) -> ProblemError:
    faults = [
        Fault(
            "exceeds_maker",
            f"{text} is more than the key that asks has",
            pointer=f"/{error.member}/{position}",
        )
        for position, text in error.values
    ]
    return ProblemError(Code.PRIVILEGE_EXCEEDED, str(error), faults)


_PROBLEMS: dict[type[Exception], Callable[[Any], ProblemError]] = {
    ProblemError: lambda problem: problem,
    HTTPException: _framework,
    RequestValidationError: _validation,
    UnavailableError: _unavailable,
    UnknownKindError: _unknown_kind,
    InvalidInputError: _invalid_input,
    UnknownBlobError: _unknown_blob,
    IdempotencyKeyReusedError: _key_reused,
    BlobTooLargeError: _blob_too_large,
    WaitingCapError: _waiting_cap,
    QuotaExceededError: _quota_exceeded,
    JobEndedError: _job_ended,
    JobNotEndedError: _job_not_ended,
    BlobNotFoundError: _blob_not_found,
    BlobInUseError: _blob_in_use,
    StorageFullError: _storage_full,
    OutputDeletedError: _output_deleted,
    TenantError: _tenant,
    AddressNotAllowedError: _address_not_allowed,
    TenantSuspendedError: lambda error: ProblemError(
        Code.TENANT_SUSPENDED, str(error), meta={"reason": error.reason}
    ),
    PrivilegeError: _privilege,
    KeyNotFoundError: lambda error: ProblemError(Code.KEY_NOT_FOUND, str(error)),
    KeyEndedError: lambda error: ProblemError(Code.KEY_ENDED, str(error)),
    KeyLimitError: lambda error: ProblemError(
        Code.KEY_LIMIT_REACHED, str(error), meta={"limit": error.limit}
    ),
    **ADMIN_PROBLEMS,
}
