"""What the holder of a key or of an access token may do."""

from enum import StrEnum


class Scope(StrEnum):
    """A right over one kind of thing of the tenant's; `admin:…` over all tenants."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    JOBS_CANCEL = "jobs:cancel"
    JOBS_REDRIVE = "jobs:redrive"
    BLOBS_WRITE = "blobs:write"
    USAGE_READ = "usage:read"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    AUDIT_READ = "audit:read"
    ADMIN_READ = "admin:read"
    ADMIN_WRITE = "admin:write"


ADMIN_SCOPES = frozenset({Scope.ADMIN_READ, Scope.ADMIN_WRITE})
"""What only keys of the platform's own tenants may have."""

EVERY_SCOPE = frozenset(Scope) - ADMIN_SCOPES
"""What a key of any tenant may have."""


def grantable(*, is_operator: bool) -> frozenset[Scope]:
    """What keys of a tenant may have; `is_operator`: the tenant is the platform's own."""
    return frozenset(Scope) if is_operator else EVERY_SCOPE
