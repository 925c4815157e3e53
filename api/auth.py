"""Who makes the request: an API key or an access token, as a bearer token (RFC 6750)."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api.errors import Code, ProblemError
from api.limits import Action
from api.services import Services
from relayer.tenants.errors import AddressNotAllowedError, TenantSuspendedError
from relayer.tenants.principal import Principal
from relayer.tenants.refusals import Reason
from relayer.tenants.scopes import Scope
from relayer.tenants.token_format import looks_like_token

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([\x21-\x7e]+)")


async def authenticate(request: Request, services: Services) -> Principal:
    """Find out who makes the request.

    Raises:
        ProblemError: the key is missing, or not a live one.

    """
    admission, visitor = services.admission, services.admission.visitor(request)
    values = request.headers.getlist("authorization")
    if not values:
        await admission.count_failure(request, visitor.address, None)
        raise ProblemError(
            Code.API_KEY_MISSING,
            "send an API key as 'Authorization: Bearer <key>'",
            headers={"WWW-Authenticate": "Bearer"},
        )
    match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    credential = match[1] if match else ""
    is_known = await admission.meet(request, visitor.address, credential)
    try:
        principal = await services.access.authenticator.authenticate(credential, visitor.host)
    except (AddressNotAllowedError, TenantSuspendedError):
        # No rate of the tenant's holds it back.
        await admission.count_failure(request, visitor.address, None)
        raise
    if principal is None:
        await admission.count_failure(request, visitor.address, credential)
        raise _invalid(credential)
    if not is_known:
        admission.welcome(visitor.address, credential)
    return principal


def _invalid(credential: str) -> ProblemError:
    headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    if looks_like_token(credential):
        return ProblemError(
            Code.ACCESS_TOKEN_INVALID,
            "the access token is malformed, forged, revoked or expired; get a new one at POST /oauth/token",
            headers=headers,
        )
    return ProblemError(
        Code.API_KEY_INVALID,
        "the API key is malformed, unknown, revoked or expired; send a live one as 'Authorization: Bearer <key>'",
        headers=headers,
    )


@dataclass(frozen=True)
class Entry:
    """Lets in whoever has a scope, within the rate of what he does; the description of the API reads the scope off.

    One dependency, that asks the others itself: FastAPI's resolving of five nested ones takes longer than all of them.
    """

    scope: Scope
    action: Action
    units: int = 1

    async def __call__(self, request: Request) -> Principal:
        """Give who makes the request.

        Raises:
            ProblemError: the key or token is missing or not a live one, a rate is used up, or the scope is lacking.

        """
        services: Services = request.app.state.services
        principal = await authenticate(request, services)
        await services.admission.admit(request, principal, self.action, self.units)
        if self.scope not in principal.scopes:
            host = services.admission.visitor(request).host
            services.access.authenticator.refusals.note(principal, Reason.INSUFFICIENT_SCOPE, host)
            shown = "API key" if principal.token_id is None else "access token"
            raise ProblemError(
                Code.INSUFFICIENT_SCOPE,
                f"the {shown} lacks the scope {self.scope}",
                meta={"scope": str(self.scope)},
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{self.scope}"'},
            )
        return principal


async def _visit(request: Request) -> None:
    services: Services = request.app.state.services
    await services.admission.visit(request)


OPEN_TO_ALL = Depends(_visit)
"""Lets in anybody, within the rate of his address."""

READ_JOBS = Entry(Scope.JOBS_READ, Action.READ)
JobReader = Annotated[Principal, Depends(READ_JOBS)]
JobWriter = Annotated[Principal, Depends(Entry(Scope.JOBS_WRITE, Action.SUBMIT))]
JobBatchWriter = Annotated[Principal, Depends(Entry(Scope.JOBS_WRITE, Action.SUBMIT))]
"""Reading a batch costs a job. How many it has is known then, and the endpoint holds the others to the rate."""
JobCanceller = Annotated[Principal, Depends(Entry(Scope.JOBS_CANCEL, Action.WRITE))]
JobRedriver = Annotated[Principal, Depends(Entry(Scope.JOBS_REDRIVE, Action.WRITE))]
BlobReader = Annotated[Principal, Depends(Entry(Scope.BLOBS_WRITE, Action.READ))]
BlobWriter = Annotated[Principal, Depends(Entry(Scope.BLOBS_WRITE, Action.WRITE))]
UsageReader = Annotated[Principal, Depends(Entry(Scope.USAGE_READ, Action.READ))]
WebhookReader = Annotated[Principal, Depends(Entry(Scope.WEBHOOKS_READ, Action.READ))]
WebhookWriter = Annotated[Principal, Depends(Entry(Scope.WEBHOOKS_WRITE, Action.WRITE))]
KeyReader = Annotated[Principal, Depends(Entry(Scope.KEYS_READ, Action.READ))]
KeyWriter = Annotated[Principal, Depends(Entry(Scope.KEYS_WRITE, Action.WRITE))]
AuditReader = Annotated[Principal, Depends(Entry(Scope.AUDIT_READ, Action.READ))]
AdminReader = Annotated[Principal, Depends(Entry(Scope.ADMIN_READ, Action.READ))]
AdminWriter = Annotated[Principal, Depends(Entry(Scope.ADMIN_WRITE, Action.WRITE))]
