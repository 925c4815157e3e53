"""Who makes the request: an API key as a bearer token (RFC 6750)."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from api.errors import Code, ProblemError
from api.services import ServicesDep
from relayer.tenants.service import Principal, Scope

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([\x21-\x7e]+)")


async def _authenticate(request: Request, services: ServicesDep) -> Principal:
    values = request.headers.getlist("authorization")
    if not values:
        raise ProblemError(
            Code.API_KEY_MISSING,
            "send an API key as 'Authorization: Bearer <key>'",
            headers={"WWW-Authenticate": "Bearer"},
        )
    match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    principal = await services.authenticator.authenticate(match[1]) if match else None
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
            raise ProblemError(
                Code.INSUFFICIENT_SCOPE,
                f"the API key lacks the scope {scope}",
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
