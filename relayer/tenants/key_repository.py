"""All SQL of API keys. The digest of a key is written and searched for, and never read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.model.ids import to_public
from relayer.tenants.addresses import Network
from relayer.tenants.audit import Target, instant
from relayer.tenants.keys import KEY_PREFIX
from relayer.tenants.plans import Limits
from relayer.tenants.principal import Mode, Principal
from relayer.tenants.scopes import grantable

Connection = AsyncConnection[TupleRow]

_LIMITS = ", ".join(field.name for field in fields(Limits))


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A row of `api_keys` without its digest; `last4` is the end of the key, so that people can tell keys apart.

    `last_used_at` is exact to the minute. `rotated_from` is the key that this one follows.
    """

    id: UUID
    tenant_id: UUID
    name: str
    mode: Mode
    last4: str
    scopes: Sequence[str]
    allowed_addresses: Sequence[Network]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    rotated_from: UUID | None = None

    def to_document(self) -> dict[str, Any]:
        """The key as the hashes of the audit log have it."""
        return {
            "id": to_public(KEY_PREFIX, self.id),
            "name": self.name,
            "mode": self.mode.value,
            "last4": self.last4,
            "scopes": list(self.scopes),
            "allowed_addresses": [str(network) for network in self.allowed_addresses],
            "created_at": instant(self.created_at),
            "expires_at": instant(self.expires_at),
            "revoked_at": instant(self.revoked_at),
            "rotated_from": None if self.rotated_from is None else to_public(KEY_PREFIX, self.rotated_from),
        }

    def target(self) -> Target:
        """The key as what an audit event acts on."""
        return Target("api_key", to_public(KEY_PREFIX, self.id), self.name)

    def is_live(self, at: datetime) -> bool:
        """Whether the key opens anything at a time."""
        return self.revoked_at is None and at < self.expires_at


_COLUMNS = ", ".join(field.name for field in fields(ApiKey))

_INSERT = """
INSERT INTO api_keys (id, tenant_id, name, mode, digest, pepper_version, last4, scopes, allowed_addresses, created_at,
                      expires_at, rotated_from)
VALUES (%(id)s, %(tenant)s, %(name)s, %(mode)s, %(digest)s, %(pepper_version)s, %(last4)s, %(scopes)s,
        %(addresses)s::cidr[], %(created_at)s, %(expires_at)s, %(rotated_from)s)
"""

_AUTHENTICATE = f"""
SELECT key_id, tenant_id, scopes, key_name, mode, allowed_addresses, expires_at, is_operator,
       suspension_reason, {_LIMITS}
FROM authenticate_api_key(%s, %s, %s)
"""  # noqa: S608 - constants only


async def insert_key(conn: Connection, key: ApiKey, digest: bytes, pepper_version: int) -> None:
    """Add a key; `digest` is 32 bytes."""
    await conn.execute(
        _INSERT,
        {
            "id": key.id,
            "tenant": key.tenant_id,
            "name": key.name,
            "mode": key.mode.value,
            "digest": digest,
            "pepper_version": pepper_version,
            "last4": key.last4,
            "scopes": list(key.scopes),
            "addresses": [str(network) for network in key.allowed_addresses],
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "rotated_from": key.rotated_from,
        },
    )


async def lock_keys(conn: Connection, tenant_id: UUID) -> None:
    """Let nobody else add or change keys of a tenant until the end of this transaction."""
    await conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('api_keys ' || %s, 0))", (str(tenant_id),)
    )


async def count_live(conn: Connection, tenant_id: UUID, at: datetime) -> int:
    """How many keys of a tenant open anything at a time."""
    cursor = await conn.execute(
        "SELECT count(*) FROM api_keys WHERE tenant_id = %s AND revoked_at IS NULL AND expires_at > %s",
        (tenant_id, at),
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def find_key(conn: Connection, tenant_id: UUID, key_id: UUID) -> ApiKey | None:
    """A tenant's key."""
    cursor = await conn.execute(
        f"SELECT {_COLUMNS} FROM api_keys WHERE tenant_id = %s AND id = %s",  # noqa: S608 - constants only
        (tenant_id, key_id),
    )
    row = await cursor.fetchone()
    return None if row is None else _key(row)


async def find_tenant_of(conn: Connection, key_id: UUID) -> UUID | None:
    """Whose key it is."""
    cursor = await conn.execute("SELECT tenant_id FROM api_keys WHERE id = %s", (key_id,))
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def list_keys(conn: Connection, tenant_id: UUID, before: UUID | None, limit: int) -> list[ApiKey]:
    """A tenant's keys, newest first, from below the id `before`."""
    cursor = await conn.execute(
        f"SELECT {_COLUMNS} FROM api_keys WHERE tenant_id = %s AND (%s::uuid IS NULL OR id < %s)"  # noqa: S608
        " ORDER BY id DESC LIMIT %s",
        (tenant_id, before, before, limit),
    )
    return [_key(row) for row in await cursor.fetchall()]


async def revoke_key(conn: Connection, tenant_id: UUID, key_id: UUID, at: datetime) -> bool:
    """End a key for good; False where it does not exist or was revoked before."""
    cursor = await conn.execute(
        "UPDATE api_keys SET revoked_at = %s WHERE tenant_id = %s AND id = %s AND revoked_at IS NULL",
        (at, tenant_id, key_id),
    )
    return cursor.rowcount == 1


async def shorten_key(conn: Connection, tenant_id: UUID, key_id: UUID, expires_at: datetime) -> None:
    """Let a key end earlier, never later."""
    await conn.execute(
        "UPDATE api_keys SET expires_at = %s WHERE tenant_id = %s AND id = %s AND expires_at > %s",
        (expires_at, tenant_id, key_id, expires_at),
    )


async def touch_keys(conn: Connection, used: Mapping[UUID, datetime]) -> None:
    """Write when keys were last used; an earlier time than what stands there changes nothing."""
    await conn.execute("SELECT touch_api_keys(%s, %s)", (list(used), list(used.values())))


async def authenticate(
    conn: Connection, *, digests: Sequence[bytes] = (), key_id: UUID | None = None, at: datetime
) -> Principal | None:
    """Who holds the live key with one of these digests, or with this id.

    The one lookup that needs no tenant, by a function of the owner.
    """
    cursor = await conn.execute(_AUTHENTICATE, (list(digests), key_id, at))
    row = await cursor.fetchone()
    return None if row is None else _principal(row)


def _principal(row: TupleRow) -> Principal:
    return Principal(
        key_id=row[0],
        tenant_id=row[1],
        # Whatever the row says: rights over all tenants end with those of its tenant.
        scopes=frozenset(row[2]).intersection(grantable(is_operator=row[7])),
        key_name=row[3],
        mode=Mode(row[4]),
        addresses=tuple(row[5]),
        expires_at=row[6],
        is_operator=row[7],
        suspension_reason=row[8],
        limits=Limits(*row[9:]),
    )


def _key(row: TupleRow) -> ApiKey:
    values: dict[str, Any] = {field.name: value for field, value in zip(fields(ApiKey), row, strict=True)}
    return ApiKey(**values | {"mode": Mode(values["mode"])})
