"""The store against a real PostgreSQL: roles, row-level security, leases, tickets."""

import time
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from pydantic import SecretStr

from relayer.local.process import free_port
from relayer.model.errors import UnavailableError
from relayer.settings import DatabaseSettings
from relayer.store import leases
from relayer.store.database import ConnectionLostError, Database, SchemaError
from relayer.store.guard import Patience
from relayer.store.migrate import migrate
from relayer.store.registries import RegistryRow, find, register

TTL = timedelta(seconds=30)


async def test_a_lease_has_one_owner_and_its_epoch_rises_with_each_change(relayer_db: Database) -> None:
    async with relayer_db.transaction() as conn:
        first = await leases.acquire(conn, "sender", "a", TTL)
        assert first is not None
        assert await leases.acquire(conn, "sender", "a", TTL) == first
        assert await leases.acquire(conn, "sender", "b", TTL) is None
        await leases.release(conn, "sender", "a")
        assert await leases.acquire(conn, "sender", "b", TTL) == first + 1
        with pytest.raises(leases.LeaseLostError):
            await leases.require(conn, "sender", first)


async def test_registering_again_changes_nothing(owner_db: Database, registry_row: RegistryRow) -> None:
    async with owner_db.transaction() as conn:
        assert await register(conn, registry_row.chain_id, registry_row.address, 7) == registry_row
        assert await find(conn, registry_row.chain_id + 1, registry_row.address) is None


async def test_the_api_sees_its_tenant_only_and_nothing_without_one(
    api_db: Database, owner_db: Database
) -> None:
    mine, other = uuid4(), uuid4()
    async with owner_db.transaction() as conn:
        await conn.execute(
            "INSERT INTO tenants VALUES (%s, 'mine', now()), (%s, 'other', now())",
            [mine, other],
        )
    async with api_db.transaction(mine) as conn:
        assert await (await conn.execute("SELECT id FROM tenants")).fetchall() == [(mine,)]
    async with api_db.transaction() as conn:
        assert await (await conn.execute("SELECT id FROM tenants")).fetchall() == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with conn.transaction():
                await conn.execute("SELECT * FROM api_keys")


async def test_every_table_with_a_tenant_is_guarded_by_row_level_security(owner_db: Database) -> None:
    async with owner_db.transaction() as conn:
        cursor = await conn.execute(
            """SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
               WHERE a.attname = 'tenant_id' AND c.relkind = 'r' AND NOT c.relrowsecurity"""
        )
        assert await cursor.fetchall() == []


async def test_a_server_that_lets_nobody_in_is_told_in_its_own_words(postgres_urls: Any) -> None:
    url = postgres_urls.relayer
    wrong = url.replace(urlsplit(url).password or "", "secretword")
    words = r"takes no connection: password authentication failed for user \"jobseal_relayer\"$"
    async with Database(DatabaseSettings(url=SecretStr(wrong))) as database:
        with pytest.raises(UnavailableError, match=words):
            await database.ping()
    with pytest.raises(UnavailableError, match=words):
        migrate(wrong)
    # What an API process says is open to all.
    async with Database(DatabaseSettings(url=SecretStr(wrong)), Patience()) as database:
        with pytest.raises(UnavailableError, match=r"does not answer$"):
            await database.ping()


async def test_what_the_schema_lacks_asks_for_a_migration(relayer_db: Database) -> None:
    for statement in ("SELECT 1 FROM later", "SELECT later FROM jobs", "SELECT later()"):
        with pytest.raises(SchemaError, match=r"later.* does not exist\); run `jobseal admin migrate`"):
            async with relayer_db.transaction() as conn:
                await conn.execute(statement.encode())


async def test_an_absent_server_is_named_without_its_password() -> None:
    url = f"postgresql://someone:secretword@127.0.0.1:{free_port()}/jobseal"
    async with Database(DatabaseSettings(url=SecretStr(url))) as database:
        with pytest.raises(UnavailableError, match=r"PostgreSQL at 127\.0\.0\.1:\d+") as caught:
            await database.ping()
        assert "secretword" not in str(caught.value)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:\d+"):
        migrate(url)


async def test_what_only_reads_is_asked_once_more_over_a_new_connection(relayer_db: Database) -> None:
    asked = 0

    async def breaks(conn: AsyncConnection[TupleRow], times: int) -> int:
        nonlocal asked
        asked += 1
        if asked <= times:
            await conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return asked

    assert await relayer_db.read(None, lambda conn: breaks(conn, 1)) == 2
    asked = 0
    with pytest.raises(ConnectionLostError, match="went away"):
        await relayer_db.read(None, lambda conn: breaks(conn, 9))
    assert asked == 2


async def test_whatever_the_server_closed_is_replaced_before_anyone_asks(
    urls: Any, superuser: psycopg.Connection[Any]
) -> None:
    """A restart closes every connection of a pool at once."""
    settings = DatabaseSettings(url=SecretStr(urls.relayer), pool_size=12)
    async with Database(settings) as db, AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(db.statement()) for _ in range(12)]
        pids = [connection.info.backend_pid for connection in opened]
        await stack.aclose()
        superuser.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) pid", [pids])
        while superuser.execute("SELECT FROM pg_stat_activity WHERE pid = ANY(%s)", [pids]).rowcount:
            time.sleep(0.01)
        await db.ping()


async def test_a_patient_database_ends_statements_that_take_too_long(urls: Any) -> None:
    settings = DatabaseSettings(url=SecretStr(urls.api), pool_size=1)
    async with Database(settings, Patience(statement=0.1, wait=0.05)) as db:
        with pytest.raises(UnavailableError, match="took too long"):
            async with db.transaction() as conn:
                await conn.execute("SELECT pg_sleep(5)")
        async with db.transaction() as conn:
            with pytest.raises(UnavailableError, match="is in use"):
                await db.ping()
            await conn.execute("SELECT 1")
        await db.ping()
