"""The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header), bare or as a quoted string."""

import hashlib
import re
from typing import Any, TypeGuard

from fastapi import Request

from api.errors import Code, Fault, ProblemError
from relayer.seal.strict_json import canonical_json
from relayer.tenants.principal import Principal
from relayer.tenants.request_key_repository import RequestKey

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotency-Replayed": "true"}

_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_KEY = re.compile(r"[ -~]{1,255}")


def idempotency_key(request: Request) -> str | None:
    """Read the header; None where it is absent.

    Raises:
        ProblemError: it comes twice, or is not 1 to 255 printable ASCII characters.

    """
    values = request.headers.getlist(HEADER)
    if not values:
        return None
    value = values[0].strip(" \t")
    if value.startswith('"'):
        quoted = _QUOTED.fullmatch(value)
        value = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else ""
    if len(values) > 1 or not is_key(value):
        detail = f"send one {HEADER} of 1 to 255 printable ASCII characters, bare or as a quoted string"
        raise ProblemError(
            Code.INVALID_IDEMPOTENCY_KEY, detail, [Fault("malformed", detail, parameter=HEADER)]
        )
    return value


def is_key(value: object) -> TypeGuard[str]:
    """Whether a value can be an idempotency key: 1 to 255 printable ASCII characters."""
    return isinstance(value, str) and _KEY.fullmatch(value) is not None


def required_idempotency_key(request: Request) -> str:
    """Read the header where a request cannot do without.

    Raises:
        ProblemError: it is absent or malformed.

    """
    key = idempotency_key(request)
    if key is None:
        raise ProblemError(
            Code.IDEMPOTENCY_KEY_REQUIRED,
            f"send an {HEADER}, a new one for each new job, so that a repeated request cannot make a second job",
        )
    return key


def request_key(request: Request, principal: Principal, value: Any = None) -> RequestKey | None:
    """What makes a request repeatable that asks for a JSON value; None where its client did not ask for that.

    Raises:
        ProblemError: the header is malformed.

    """
    key = idempotency_key(request)
    if key is None:
        return None
    fingerprint = hashlib.sha256(canonical_json(value)).digest()
    return RequestKey(principal.tenant_id, f"{request.method} {request.url.path}", key, fingerprint)
