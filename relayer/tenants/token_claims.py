"""What an access token says, once it is known to be one."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a token says: who may do what, from when until when, to the second. `jti` names the token."""

    jti: UUID
    key_id: UUID
    tenant_id: UUID
    scopes: frozenset[str]
    issued_at: datetime
    expires_at: datetime
