"""All SQL of the keys that sign access tokens."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Literal

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

Connection = AsyncConnection[TupleRow]
State = Literal["next", "current", "retired"]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A row of `signing_keys`: an Ed25519 key pair, its private half encrypted.

    `next` is published and does not sign yet; `retired` is published until the last token under it has ended.
    """

    kid: str
    state: State
    public_key: bytes
    private_key: bytes
    created_at: datetime
    activated_at: datetime | None = None
    retired_at: datetime | None = None


_COLUMNS = ", ".join(field.name for field in fields(SigningKey))


async def signing_keys(conn: Connection) -> list[SigningKey]:
    """Every key that is published, the newest last."""
    async with conn.cursor(row_factory=class_row(SigningKey)) as cursor:
        await cursor.execute(f"SELECT {_COLUMNS} FROM signing_keys ORDER BY created_at, kid")  # noqa: S608
        return await cursor.fetchall()


async def lock(conn: Connection) -> None:
    """Let nobody else change signing keys until the end of this transaction."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('signing_keys', 0))")


async def insert(conn: Connection, key: SigningKey) -> None:
    """Add a key."""
    await conn.execute(
        f"INSERT INTO signing_keys ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s)",  # noqa: S608
        [getattr(key, field.name) for field in fields(SigningKey)],
    )


async def promote(conn: Connection, kid: str, at: datetime) -> None:
    """Let the next key sign from now on."""
    await conn.execute(
        "UPDATE signing_keys SET state = 'current', activated_at = %s WHERE kid = %s AND state = 'next'",
        [at, kid],
    )


async def retire(conn: Connection, kid: str, at: datetime) -> None:
    """Let a key sign no more."""
    await conn.execute(
        "UPDATE signing_keys SET state = 'retired', retired_at = %s WHERE kid = %s AND state <> 'retired'",
        [at, kid],
    )


async def forget_retired(conn: Connection, before: datetime) -> None:
    """Delete keys that were retired before a time."""
    await conn.execute("DELETE FROM signing_keys WHERE state = 'retired' AND retired_at <= %s", [before])
