"""All SQL of tenants and API keys."""

from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.tenants.plans import Limits

Connection = AsyncConnection[TupleRow]

LIMITS = ", ".join(field.name for field in fields(Limits))


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A row of `api_keys`; `digest` is 32 bytes, `last4` the end of the key, shown so that people can tell keys apart."""

    id: UUID
    tenant_id: UUID
    name: str
    digest: bytes
    pepper_version: int
    last4: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class AuthenticatedKey:
    """What a valid key stands for, and what its tenant may use."""

    key_id: UUID
    tenant_id: UUID
    scopes: frozenset[str]
    limits: Limits


async def insert_tenant(conn: Connection, tenant_id: UUID, name: str, at: datetime) -> bool:
    """Add a tenant; False where its name is taken."""
    cursor = await conn.execute(
        "INSERT INTO tenants (id, name, created_at) VALUES (%s, %s, %s) ON CONFLICT (name) DO NOTHING",
        (tenant_id, name, at),
    )
    return cursor.rowcount == 1


async def find_tenant(conn: Connection, name: str) -> UUID | None:
    """The id of the tenant of this name."""
    cursor = await conn.execute("SELECT id FROM tenants WHERE name = %s", (name,))
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def tenant_exists(conn: Connection, tenant_id: UUID) -> bool:
    """Whether there is a tenant of this id."""
    cursor = await conn.execute("SELECT 1 FROM tenants WHERE id = %s", (tenant_id,))
    return await cursor.fetchone() is not None


async def insert_key(conn: Connection, key: ApiKey) -> None:
    """Add a key."""
    await conn.execute(
        "INSERT INTO api_keys (id, tenant_id, name, digest, pepper_version, last4, scopes, created_at, expires_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            key.id,
            key.tenant_id,
            key.name,
            key.digest,
            key.pepper_version,
            key.last4,
            key.scopes,
            key.created_at,
            key.expires_at,
        ),
    )


async def revoke_key(conn: Connection, key_id: UUID, at: datetime) -> bool:
    """End a key for good; False where it does not exist or was ended before."""
    cursor = await conn.execute(
        "UPDATE api_keys SET revoked_at = %s WHERE id = %s AND revoked_at IS NULL", (at, key_id)
    )
    return cursor.rowcount == 1


async def authenticate(conn: Connection, digest: bytes, at: datetime) -> AuthenticatedKey | None:
    """The live key with this digest; the one lookup that needs no tenant, by a function of the owner."""
    cursor = await conn.execute(
        f"SELECT key_id, tenant_id, scopes, {LIMITS} FROM authenticate_api_key(%s, %s)",  # noqa: S608 - constants only
        (digest, at),
    )
    row = await cursor.fetchone()
    return None if row is None else AuthenticatedKey(row[0], row[1], frozenset(row[2]), Limits(*row[3:]))
