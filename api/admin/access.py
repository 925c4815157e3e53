"""Who may administer, and whether this process serves it at all."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api import auth
from api.errors import Code, ProblemError
from api.origin import origin_of
from api.services import AdminServices, ServicesDep
from relayer.tenants.audit import ActorType, Origin
from relayer.tenants.principal import Principal


@dataclass(frozen=True)
class Admin:
    """An operator at work: the services in the role of administration, who asks, and from where."""

    services: AdminServices
    principal: Principal
    origin: Origin


async def _served(services: ServicesDep) -> AdminServices:
    """Comes before the check of the key, so that a process without administration answers as if it had no such path."""
    if services.admin is None:
        raise ProblemError(Code.NOT_FOUND, "no resource has this path; the paths are listed at /docs")
    return services.admin


_Served = Annotated[AdminServices, Depends(_served)]


async def _reader(services: _Served, request: Request, principal: auth.AdminReader) -> Admin:
    return Admin(services, principal, origin_of(request, principal, ActorType.OPERATOR))


async def _writer(services: _Served, request: Request, principal: auth.AdminWriter) -> Admin:
    return Admin(services, principal, origin_of(request, principal, ActorType.OPERATOR))


AdminReader = Annotated[Admin, Depends(_reader)]
AdminWriter = Annotated[Admin, Depends(_writer)]
