"""The first key of administration, where there is none that could make one."""

from datetime import datetime

from relayer.tenants.administration import Administration
from relayer.tenants.administration_errors import FieldError
from relayer.tenants.audit import Origin
from relayer.tenants.errors import TenantError
from relayer.tenants.key_service import KeyRequest, KeyService, NewKey
from relayer.tenants.scopes import Scope

OPERATOR = "operator"

_MANY_KEYS = 200


async def bootstrap(
    administration: Administration, keys: KeyService, now: datetime, *, name: str = OPERATOR, origin: Origin
) -> NewKey:
    """Make the platform's own tenant, where it is missing, and a key of it that may do everything.

    Raises:
        TenantError: the name is malformed or another tenant's, or a living key administers already.

    """
    tenant = await administration.find(name)
    if tenant is None:
        tenant = await administration.create(name, origin, is_operator=True)
    if not tenant.is_operator:
        raise FieldError("name", f"'{name}' is a tenant that is not the platform's own; choose another name")
    for key in await keys.list(tenant.id, None, _MANY_KEYS):
        if key.is_live(now) and Scope.ADMIN_WRITE in key.scopes:
            raise TenantError(
                f"the key '{key.name}' (…{key.last4}) administers already; with it, or with "
                f"`jobseal admin key create {name}`, more can be made"
            )
    return await keys.create(tenant.id, KeyRequest("bootstrap", tuple(sorted(Scope))), origin=origin)
