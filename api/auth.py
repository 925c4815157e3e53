"""Who makes the request: an API key or an access token, as a bearer token (RFC 6750)."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from api.errors import Code, ProblemError
from api.services import ServicesDep
from relayer.tenants.principal import Principal
from relayer.tenants.scopes import Scope

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([\x21-\x7e]+)")


def client_address(request: Request) -> str | None:
    """Where the request comes from; None where its connection has no address, as a Unix socket has none."""
    return None if request.client is None else request.client.host


async def _authenticate(request: Request, services: ServicesDep) -> Principal:
    values = request.headers.getlist("authorization")
    if not values:
        raise ProblemError(
            Code.API_KEY_MISSING,
            "send an API key as 'Authorization: Bearer <key>'",
            headers={"WWW-Authenticate": "Bearer"},
        )
    match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    authenticator = services.access.authenticator
    principal = await authenticator.authenticate(match[1], client_address(request)) if match else None
    if principal is None:
        raise ProblemError(
            Code.API_KEY_INVALID,
            "the API key is malformed, unknown, revoked or expired; send a live one as 'Authorization: Bearer <key>'",
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )
    return principal


def _with_scope(scope: Scope) -> Callable[..., Awaitable[Principal]]:
    async def require(principal: Annotated[Principal, Depends(_authenticate)]) -> Principal:
        if scope not in principal.scopes:
            shown = "API key" if principal.token_id is None else "access token"
            raise ProblemError(
                Code.INSUFFICIENT_SCOPE,
                f"the {shown} lacks the scope {scope}",
                meta={"scope": str(scope)},
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
            )
        return principal

    return require


JobReader = Annotated[Principal, Depends(_with_scope(Scope.JOBS_READ))]
JobWriter = Annotated[Principal, Depends(_with_scope(Scope.JOBS_WRITE))]
JobCanceller = Annotated[Principal, Depends(_with_scope(Scope.JOBS_CANCEL))]
JobRedriver = Annotated[Principal, Depends(_with_scope(Scope.JOBS_REDRIVE))]
BlobWriter = Annotated[Principal, Depends(_with_scope(Scope.BLOBS_WRITE))]
UsageReader = Annotated[Principal, Depends(_with_scope(Scope.USAGE_READ))]
WebhookReader = Annotated[Principal, Depends(_with_scope(Scope.WEBHOOKS_READ))]
WebhookWriter = Annotated[Principal, Depends(_with_scope(Scope.WEBHOOKS_WRITE))]
KeyReader = Annotated[Principal, Depends(_with_scope(Scope.KEYS_READ))]
KeyWriter = Annotated[Principal, Depends(_with_scope(Scope.KEYS_WRITE))]
AuditReader = Annotated[Principal, Depends(_with_scope(Scope.AUDIT_READ))]
AdminReader = Annotated[Principal, Depends(_with_scope(Scope.ADMIN_READ))]
AdminWriter = Annotated[Principal, Depends(_with_scope(Scope.ADMIN_WRITE))]
