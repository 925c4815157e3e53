"""Who makes a request: what a key, or a token that was issued through it, stands for."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from relayer.tenants.addresses import Network
from relayer.tenants.plans import Limits


class Mode(StrEnum):
    """What a key is for. Both kinds may do the same; a tenant sees by it which of them its tests use."""

    LIVE = "live"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request.

    `token_id` is the `jti` of the access token that was shown; None where it was the key itself. `scopes` are those of
    what was shown, `expires_at` and `addresses` those of the key. `suspension_reason` is None while the tenant is active.
    """

    tenant_id: UUID
    key_id: UUID
    scopes: frozenset[str]
    limits: Limits
    key_name: str
    mode: Mode
    expires_at: datetime
    addresses: tuple[Network, ...] = ()
    is_operator: bool = False
    suspension_reason: str | None = None
    token_id: UUID | None = None
