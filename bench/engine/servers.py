"""The stores that all contenders share: a durable PostgreSQL and a Valkey, both embedded."""

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import redis
from psycopg import AsyncConnection

from bench.engine import repository
from relayer.local.postgres import EmbeddedPostgres
from relayer.local.valkey import EmbeddedValkey
from relayer.store import roles
from relayer.store.migrate import migrate

_DATABASE = "jobseal"


@dataclass(frozen=True)
class Stores:
    """Addresses by role, all secrets, and the ids of the servers' processes by name."""

    admin_url: str
    owner_url: str
    api_url: str
    relayer_url: str
    redis_url: str
    pids: Mapping[str, int]


@dataclass(frozen=True)
class RoleUrls:
    """Addresses of one database by role, all secrets."""

    owner: str
    api: str
    relayer: str


def make_database(postgres: EmbeddedPostgres) -> RoleUrls:
    """Make a database with the newest schema and roles whose passwords nobody keeps."""
    passwords = roles.Passwords(*(secrets.token_hex(16) for _ in range(4)))
    roles.prepare_database(postgres.admin_dsn, _DATABASE, passwords)
    address = f"{urlsplit(postgres.admin_dsn).netloc.rpartition('@')[2]}/{_DATABASE}"
    urls = RoleUrls(
        owner=f"postgresql://{roles.OWNER}:{passwords.owner}@{address}",
        api=f"postgresql://{roles.API}:{passwords.api}@{address}",
        relayer=f"postgresql://{roles.RELAYER}:{passwords.relayer}@{address}",
    )
    migrate(urls.owner)
    return urls


@contextmanager
def running(home: Path) -> Iterator[Stores]:
    """Start both servers with the newest schema; their data under `home` is deleted in the end."""
    postgres = EmbeddedPostgres(home, durable=True)
    postgres.delete()  # what a run that was killed left
    try:
        with postgres, EmbeddedValkey(home) as valkey:
            urls = make_database(postgres)
            yield Stores(
                admin_url=postgres.admin_dsn,
                owner_url=urls.owner,
                api_url=urls.api,
                relayer_url=urls.relayer,
                redis_url=valkey.url,
                pids={"postgresql": postgres.pid or 0, "valkey": valkey.pid or 0},
            )
    finally:
        postgres.delete()


def settle(stores: Stores) -> None:
    """Empty Valkey and write PostgreSQL's dirty pages out, so that no turn pays for the one before it."""
    with redis.Redis.from_url(stores.redis_url) as client:
        client.flushall()
    asyncio.run(_checkpoint(stores.admin_url))


def describe(stores: Stores) -> dict[str, str]:
    """Give versions and durability of the servers."""
    with redis.Redis.from_url(stores.redis_url) as client:
        version = client.info("server").get("valkey_version", "unknown")
    found = asyncio.run(_durability(stores.admin_url))
    return {f"postgresql {name}": found[name] for name in sorted(found)} | {"valkey version": str(version)}


async def _checkpoint(url: str) -> None:
    async with await AsyncConnection.connect(url, autocommit=True) as conn:
        await repository.checkpoint(conn)


async def _durability(url: str) -> dict[str, str]:
    async with await AsyncConnection.connect(url) as conn:
        return await repository.durability(conn)
