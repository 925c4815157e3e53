"""Whose doing a change is, for the audit log."""

from fastapi import Request

from api.services import Services
from relayer.model.ids import to_public
from relayer.tenants.audit import Actor, ActorType, Context, Origin
from relayer.tenants.keys import KEY_PREFIX
from relayer.tenants.principal import Principal


def origin_of(request: Request, principal: Principal, actor: ActorType | None = None) -> Origin:
    """Give who makes a request and from where; `actor`: as what he acts, where it is not as one of the tenant's."""
    services: Services = request.app.state.services
    shown = ActorType.API_KEY if principal.token_id is None else ActorType.ACCESS_TOKEN
    return Origin(
        Actor(actor or shown, to_public(KEY_PREFIX, principal.key_id), principal.key_name),
        Context(
            address=services.admission.visitor(request).host,
            user_agent=request.headers.get("user-agent"),
            request_id=request.state.request_id,
        ),
    )
