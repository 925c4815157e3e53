"""API keys as JSON: what a client asks for, and what it gets."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from api.fields import Instant
from api.jobs.schemas import in_utc
from api.pagination import NextPageToken
from relayer.model.ids import to_public
from relayer.tenants.addresses import MAX_NETWORKS, Network, parse_network
from relayer.tenants.key_repository import ApiKey
from relayer.tenants.key_service import MAX_OVERLAP, KeyRequest, NewKey
from relayer.tenants.keys import KEY_PREFIX
from relayer.tenants.principal import Mode
from relayer.tenants.scopes import Scope

_DAY_S = 86_400

State = Literal["live", "expired", "revoked"]

_EXAMPLE: dict[str, Any] = {
    "id": "key_01970000-0000-7000-8000-000000000001",
    "name": "build server",
    "mode": "live",
    "state": "live",
    "last4": "9Yx2",
    "scopes": ["jobs:read", "jobs:write"],
    "allowed_addresses": ["203.0.113.0/24"],
    "created_at": "2030-01-31T12:00:00Z",
    "expires_at": "2030-05-01T12:00:00Z",
    "revoked_at": None,
    "last_used_at": "2030-01-31T12:34:00Z",
    "rotated_from": None,
}
# Scanners for secrets know a key by its checksum; this is none.
_SECRET = "jsl_live_..."  # noqa: S105 - what stands for one


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

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "name": "build server",
                    "scopes": ["jobs:read", "jobs:write"],
                    "allowed_addresses": ["203.0.113.0/24"],
                }
            ]
        },
    )

    name: Annotated[str, StringConstraints(pattern=r"^[ -~]{1,64}$")]
    """What people know it by."""
    scopes: Annotated[list[ScopeText], Field(min_length=1, max_length=len(Scope))]
    """What it may do."""
    expires_at: Instant | None = None
    """When it ends: in 90 days where nothing is said, in 365 at the latest."""
    mode: Literal["live", "test"] = "live"
    """A test key may do the same; it is marked as one, here and in the audit log."""
    allowed_addresses: Annotated[list[NetworkText], Field(max_length=MAX_NETWORKS)] = []
    """Addresses and networks that it may be used from; without any, those of the key that asks."""

    def request(self) -> KeyRequest:
        """Give it as the service takes it."""
        networks = [parse_network(text) for text in self.allowed_addresses]
        return KeyRequest(self.name, self.scopes, self.expires_at, Mode(self.mode), networks)


class RotateKeyBody(BaseModel):
    """How a key is replaced."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"overlap_seconds": 3600}]},
    )

    overlap_seconds: Annotated[int, Field(ge=0, le=int(MAX_OVERLAP.total_seconds()))] = _DAY_S
    """How long the old key lives on beside the new one, never longer than it would have."""
    expires_at: Instant | None = None
    """When the new one ends: in 90 days where nothing is said, in 365 at the latest."""

    @property
    def overlap(self) -> timedelta:
        """The overlap."""
        return timedelta(seconds=self.overlap_seconds)


class KeyBody(BaseModel):
    """An API key without its secret."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    """`key_` and a UUIDv7; also the `client_id` of `POST /oauth/token`."""
    name: str
    """What people know it by."""
    mode: Literal["live", "test"]
    """Marks keys of tests."""
    state: State
    """Whether it opens anything."""
    last4: str
    """The end of the secret, to tell keys apart."""
    scopes: list[str]
    """What it may do."""
    allowed_addresses: list[str]
    """From where it may be used; an empty list is from anywhere."""
    created_at: datetime
    """When it was made."""
    expires_at: datetime
    """When it ends by itself."""
    revoked_at: datetime | None
    """When it was ended."""
    last_used_at: datetime | None
    """When it was last used, to the minute."""
    rotated_from: str | None
    """The key that it replaces."""


class NewKeyBody(KeyBody):
    """An API key just made."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [_EXAMPLE | {"last_used_at": None, "secret": _SECRET}]}
    )

    secret: str
    """The key itself, shown this once."""


class MadeKeyBody(KeyBody):
    """An API key that an earlier request made, without its secret, which was shown then."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE | {"last_used_at": None}]})


class KeyPage(BaseModel):
    """A page of keys, newest first; the last page is the one without `next_page_token`."""

    data: list[KeyBody]
    next_page_token: NextPageToken = None


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
