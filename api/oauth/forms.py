"""What OAuth clients send: a form, and who they are, in a header or in the form (RFC 6749, section 2.3.1)."""

import base64
import binascii
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote_plus

from fastapi import Request

from api.body_size import limited_body
from api.errors import ProblemError
from api.handlers import RETRY_AFTER_S
from api.limits import Action
from api.oauth.errors import OAuthError, invalid_client
from api.services import Services
from relayer.model.errors import UnavailableError
from relayer.model.ids import from_public
from relayer.tenants.errors import AddressNotAllowedError, TenantSuspendedError
from relayer.tenants.keys import KEY_PREFIX
from relayer.tenants.principal import Principal

_MAX_BYTES = 8 * 1024
_MAX_FIELDS = 20
_FORM = re.compile(r'application/x-www-form-urlencoded\s*(;\s*charset="?utf-8"?\s*)?', re.IGNORECASE)
_BASIC = re.compile(r"[Bb][Aa][Ss][Ii][Cc] +([A-Za-z0-9+/]+=*)")


async def read_form(request: Request) -> dict[str, str]:
    """Read the form; a parameter without a value is as good as none, and what is unknown is for others.

    Raises:
        OAuthError: another media type, too many bytes, or a parameter twice.

    """
    if not _FORM.fullmatch(request.headers.get("content-type", "")):
        raise OAuthError("invalid_request", "send the parameters as application/x-www-form-urlencoded")
    try:
        body = await limited_body(request, _MAX_BYTES)
    except ProblemError as error:
        raise OAuthError("invalid_request", error.detail, error.status, error.headers) from None
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        raise OAuthError("invalid_request", "the body is no form of at most 20 parameters in UTF-8") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "send each parameter once")
    return {name: value for name, value in form.items() if value}


async def authenticate_client(request: Request, services: Services, form: Mapping[str, str]) -> Principal:
    """Give who holds the key that a client shows: its id as `client_id`, the key itself as `client_secret`.

    Raises:
        OAuthError: nothing is shown, in two ways at once, or nothing good.
        ProblemError: the client or its address asks too often.

    """
    headers = request.headers.getlist("authorization")
    if headers:
        if len(headers) > 1 or "client_secret" in form:
            raise OAuthError("invalid_request", "show the client's secret once: in the header or in the body")
        client_id, secret = _basic(headers[0])
        if form.get("client_id", client_id) != client_id:
            raise OAuthError("invalid_request", "client_id in the body is another one than in the header")
    else:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    admission, visitor = services.admission, services.admission.visitor(request)
    await admission.meet(request, visitor.address, secret)
    try:
        principal = await services.access.authenticator.authenticate_client(
            from_public(KEY_PREFIX, client_id), secret, visitor.host
        )
    except AddressNotAllowedError as error:
        await admission.count_failure(request, visitor.address, None)
        raise invalid_client(str(error)) from None
    except TenantSuspendedError as error:
        await admission.count_failure(request, visitor.address, None)
        raise OAuthError("unauthorized_client", str(error)) from None
    except UnavailableError:
        raise unavailable() from None
    if principal is None:
        await admission.count_failure(request, visitor.address, secret)
        raise invalid_client(
            "send the id of a live API key as client_id and the key as client_secret, with HTTP Basic or in the body"
        )
    admission.welcome(visitor.address, secret)
    await admission.admit(request, principal, Action.WRITE)
    return principal


def unavailable() -> OAuthError:
    """The error of a database that is away."""
    return OAuthError(
        "temporarily_unavailable",
        "a part of the platform does not answer; try again",
        503,
        {"Retry-After": str(RETRY_AFTER_S)},
    )


def _basic(header: str) -> tuple[str, str]:
    match = _BASIC.fullmatch(header)
    try:
        text = base64.b64decode(match[1], validate=True).decode() if match else ""
    except (binascii.Error, ValueError):
        text = ""
    client_id, _, secret = text.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)
