"""The audit log: what is written of a change, in the transaction of the change itself.

The shape follows what audit services agree on: an action, its actor, its targets and its context. Of what was changed
there are only hashes, so that the log may be kept for ever and shown to auditors.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.model.ids import new_id, to_public
from relayer.seal.strict_json import canonical_json
from relayer.tenants import audit_repository
from relayer.tenants.audit_chain import TENANT_PREFIX

VERSION = 1
ID_PREFIX = "aud"

_LONGEST_TEXT = 256


class ActorType(StrEnum):
    """Who acts: a key or a token of the tenant's own, the platform's operator by REST or by `jobseal admin`, a loop."""

    API_KEY = "api_key"
    ACCESS_TOKEN = "access_token"  # noqa: S105 - no secret
    OPERATOR = "operator"
    CLI = "cli"
    SYSTEM = "system"

    @property
    def is_of_the_platform(self) -> bool:
        """Whether it acts for the platform, whose people and machines are none of the tenant's concern."""
        return self in {ActorType.OPERATOR, ActorType.CLI, ActorType.SYSTEM}


class Outcome(StrEnum):
    """How the action ended."""

    SUCCESS = "success"
    DENIED = "denied"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, by a public id such as `key_…`."""

    type: ActorType
    id: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """From where: the address of the client, its user agent, the id of the request."""

    address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose doing a change is. Every service that changes something on record is given one."""

    actor: Actor
    context: Context = field(default_factory=Context)


PLATFORM = Origin(Actor(ActorType.SYSTEM, "jobseal"))
"""The platform itself, where nobody asked for the change."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is acted on: a type such as `tenant`, a public id, a name for people."""

    type: str
    id: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the log.

    Attributes:
        tenant_id: in whose chain it stands; None for what concerns the platform alone.
        action: `<resource>.<past participle>`, for example `api_key.revoked`.
        origin: who, from where.
        occurred_at: by the clock of the service.
        targets: what was acted on, the main one first.
        before_hash, after_hash: of the main target, by `fingerprint`; None where it did not exist.
        metadata: small facts that are no secret: strings, integers, booleans, and lists of these.

    """

    tenant_id: UUID | None
    action: str
    origin: Origin
    occurred_at: datetime
    targets: Sequence[Target] = ()
    outcome: Outcome = Outcome.SUCCESS
    before_hash: str | None = None
    after_hash: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def text(self, event_id: UUID) -> str:
        """The text that is kept and hashed: RFC 8785 JSON."""
        actor, context = self.origin.actor, self.origin.context
        return canonical_json(
            {
                "id": to_public(ID_PREFIX, event_id),
                "version": VERSION,
                "tenant_id": None if self.tenant_id is None else to_public(TENANT_PREFIX, self.tenant_id),
                "action": self.action,
                "outcome": self.outcome.value,
                "occurred_at": self.occurred_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "actor": {"type": actor.type.value, "id": actor.id, "name": _printable(actor.name)},
                "targets": [
                    {"type": target.type, "id": target.id, "name": _printable(target.name)}
                    for target in self.targets
                ],
                "context": {
                    "address": context.address,
                    "user_agent": _printable(context.user_agent),
                    "request_id": context.request_id,
                },
                "before_hash": self.before_hash,
                "after_hash": self.after_hash,
                "metadata": dict(self.metadata),
            }
        ).decode()


def fingerprint(document: Mapping[str, Any] | None) -> str | None:
    """SHA-256 of a resource as the API shows it (RFC 8785), written `sha256:` and 64 hex digits; None for none."""
    return None if document is None else f"sha256:{hashlib.sha256(canonical_json(document)).hexdigest()}"


def instant(time: datetime | None) -> str | None:
    """A time as documents that are hashed have it: RFC 3339 in UTC, with Z."""
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")


async def record(conn: AsyncConnection[TupleRow], event: Event) -> UUID:
    """Append an event to its tenant's chain, in the transaction of what it tells of; give its id.

    The API's role may do so for the tenant of the transaction only. Until the transaction ends, other events of the
    same tenant wait: record last.
    """
    event_id = new_id()
    await audit_repository.insert(conn, event.tenant_id, event.text(event_id))
    return event_id


def _printable(text: str | None) -> str | None:
    """What a client says of itself, without what could disturb a log or a terminal."""
    if text is None:
        return None
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:_LONGEST_TEXT]
    )
