"""API keys as JSON: what a client asks for, and what it gets."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from api.fields import Instant
from api.jobs.schemas import in_utc
from relayer.model.ids import to_public
from relayer.tenants.addresses import MAX_NETWORKS, Network, parse_network
from relayer.tenants.key_repository import ApiKey
from relayer.tenants.key_service import MAX_OVERLAP, KeyRequest, NewKey
from relayer.tenants.keys import KEY_PREFIX
from relayer.tenants.principal import Mode
from relayer.tenants.scopes import Scope

_DAY_S = 86_400

State = Literal["live", "expired", "revoked"]


def _network(text: str) -> str:
    try:
        return str(parse_network(text))
    except ValueError:
        raise PydanticCustomError(
            "network", "give an address or a network in CIDR notation, such as 203.0.113.7 or 2001:db8::/32"
        ) from None


def _scope(text: str) -> str:
    if text not in _SCOPES:
        raise PydanticCustomError(
            "scope", "this is none of the scopes {known}", {"known": ", ".join(sorted(_SCOPES))}
        )
    return text


_SCOPES = frozenset(Scope)

NetworkText = Annotated[str, StringConstraints(max_length=64), AfterValidator(_network)]
ScopeText = Annotated[
    str, AfterValidator(_scope), Field(json_schema_extra={"enum": [scope.value for scope in Scope]})
]


class CreateKeyBody(BaseModel):
    """A key to be made: at most what the key that asks for it may do, from at most where that may be used."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, StringConstraints(pattern=r"^[ -~]{1,64}$")]
    scopes: Annotated[list[ScopeText], Field(min_length=1, max_length=len(Scope))]
    expires_at: Instant | None = None
    mode: Literal["live", "test"] = "live"
    allowed_addresses: Annotated[list[NetworkText], Field(max_length=MAX_NETWORKS)] = []

    def request(self) -> KeyRequest:
        """Give it as the service takes it."""
        networks = [parse_network(text) for text in self.allowed_addresses]
        return KeyRequest(self.name, self.scopes, self.expires_at, Mode(self.mode), networks)


class RotateKeyBody(BaseModel):
    """How long the old key lives on beside the new one, in seconds, and when the new one ends."""

    model_config = ConfigDict(extra="forbid", strict=True)

    overlap_seconds: Annotated[int, Field(ge=0, le=int(MAX_OVERLAP.total_seconds()))] = _DAY_S
    expires_at: Instant | None = None

    @property
    def overlap(self) -> timedelta:
        """The overlap."""
        return timedelta(seconds=self.overlap_seconds)


class KeyBody(BaseModel):
    """An API key without its secret. `last_used_at` is exact to the minute; `rotated_from` is the key before this one."""

    id: str
    name: str
    mode: Literal["live", "test"]
    state: State
    last4: str
    scopes: list[str]
    allowed_addresses: list[str]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    rotated_from: str | None


class NewKeyBody(KeyBody):
    """An API key just made; `secret` is shown this once."""

    secret: str


class KeyPage(BaseModel):
    """A page of keys, newest first; the last page is the one without `next_page_token`."""

    data: list[KeyBody]
    next_page_token: str | None = None


def key_body(key: ApiKey, now: datetime) -> dict[str, Any]:
    """Write a key as `KeyBody` describes it."""
    return {
        "id": to_public(KEY_PREFIX, key.id),
        "name": key.name,
        "mode": key.mode.value,
        "state": _state(key, now),
        "last4": key.last4,
        "scopes": list(key.scopes),
        "allowed_addresses": _texts(key.allowed_addresses),
        "created_at": in_utc(key.created_at),
        "expires_at": in_utc(key.expires_at),
        "revoked_at": in_utc(key.revoked_at),
        "last_used_at": in_utc(key.last_used_at),
        "rotated_from": None if key.rotated_from is None else to_public(KEY_PREFIX, key.rotated_from),
    }


def new_key_body(new: NewKey, now: datetime) -> dict[str, Any]:
    """Write a new key as `NewKeyBody` describes it."""
    return key_body(new.key, now) | {"secret": new.secret}


def _state(key: ApiKey, now: datetime) -> State:
    if key.revoked_at is not None:
        return "revoked"
    return "live" if key.is_live(now) else "expired"


def _texts(networks: Sequence[Network]) -> list[str]:
    return [str(network) for network in networks]
