"""Every query that an API process can reach, as another tenant: it finds nothing and changes nothing.

Twice: in the API's role, where the policies of the tables forbid it, and as the owner, whom no policy binds, so that
each query's own condition has to.

The functions are those of every repository that `api.app` imports. A parameter without a value here fails the test:
add one to `acme.given`, naming what the tenant acme has.
"""

import ast
import importlib
import inspect
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from relayer.model.ids import new_id
from relayer.store.database import Database
from relayer.store.registries import RegistryRow
from relayer.tenants.records import TenantUsage

from .acme import Acme, given

ROOT = Path(__file__).resolve().parents[3]

SHARED = {
    "relayer.batches.repository.registry_of": "a registry belongs to the platform",
    "relayer.batches.repository.root_of": "a batch holds jobs of many tenants; its root is public on chain",
    "relayer.batches.repository.words_of": "so are its words",
    "relayer.batches.repository.leaves_of_word": "leaves are salted hashes, which tell nothing",
    "relayer.jobs.blob_repository.in_files": "whether content lies in a file; only the janitor calls it",
    "relayer.store.registries.every": "registries belong to the platform",
    "relayer.store.registries.find": "so does each of them",
    "relayer.tenants.key_repository.authenticate": "the one look before the tenant is known, by a key's digest",
    "relayer.tenants.key_repository.touch_keys": "writes when keys were used, of many tenants at once",
    "relayer.tenants.refusal_repository.shown_keys": "whose key was shown that has ended, by its digest",
    "relayer.tenants.signing_repository.forget_retired": "what signs access tokens belongs to the platform",
    "relayer.tenants.signing_repository.insert": "so does a new key that signs",
    "relayer.tenants.signing_repository.promote": "and its turns",
    "relayer.tenants.signing_repository.retire": "and its end",
    "relayer.tenants.signing_repository.signing_keys": "their private halves are encrypted",
    "relayer.tenants.token_repository.live": "the ids of ended tokens, which tell nothing",
}
"""What no tenant owns, and why it may be seen."""

FOUND = {
    "relayer.batches.repository.confirmed_job",
    "relayer.jobs.blob_repository.hold_owned",
    "relayer.jobs.blob_repository.owned_blob",
    "relayer.jobs.blob_repository.storage",
    "relayer.jobs.dead_letter_repository.count",
    "relayer.jobs.dead_letter_repository.dead_letters",
    "relayer.jobs.dead_letter_repository.redrive",
    "relayer.jobs.dead_letter_repository.used_key",
    "relayer.jobs.listing_repository.jobs",
    "relayer.jobs.quota_repository.standing",
    "relayer.jobs.quota_repository.used",
    "relayer.jobs.quota_repository.used_exactly",
    "relayer.jobs.repository.attempts",
    "relayer.jobs.repository.events",
    "relayer.jobs.repository.job",
    "relayer.jobs.repository.jobs",
    "relayer.jobs.repository.jobs_by_id",
    "relayer.jobs.submission_repository.count_waiting",
    "relayer.jobs.submission_repository.used_keys",
    "relayer.jobs.watch_repository.versions",
    "relayer.tenants.administration_repository.find_tenant",
    "relayer.tenants.administration_repository.find_tenant_named",
    "relayer.tenants.administration_repository.list_tenants",
    "relayer.tenants.administration_repository.usage",
    "relayer.tenants.audit_repository.links",
    "relayer.tenants.audit_repository.listed",
    "relayer.tenants.key_repository.count_live",
    "relayer.tenants.key_repository.find_key",
    "relayer.tenants.key_repository.find_tenant_of",
    "relayer.tenants.key_repository.list_keys",
    "relayer.tenants.request_key_repository.find",
}
"""What finds something as the right tenant, so that finding nothing means something."""

OWN = {
    "relayer.jobs.blob_repository.storage",
    "relayer.jobs.quota_repository.standing",
    "relayer.jobs.quota_repository.used",
    "relayer.jobs.quota_repository.used_exactly",
    "relayer.jobs.repository.claim_key",
    "relayer.jobs.submission_repository.count_waiting",
    "relayer.tenants.administration_repository.find_tenant",
    "relayer.tenants.audit_repository.head",
    "relayer.tenants.request_key_repository.insert",
}
"""What tells any tenant of its own limits, its empty audit log, or that a key of its own is free."""

WIDE = {
    "relayer.jobs.blob_repository.owned_blob",
    "relayer.tenants.administration_repository.find_tenant_named",
    "relayer.tenants.administration_repository.list_tenants",
    "relayer.tenants.key_repository.find_tenant_of",
}
"""What is about all tenants, for whoever administers; and a function of the owner that knows its caller's tenant."""

Function = Callable[..., Awaitable[Any]]


def _imports(module: str) -> Iterator[str]:
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.walk(ast.parse(file.read_text())) if file.exists() else ():
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _reachable() -> set[str]:
    seen: set[str] = set()
    left = ["api.app"]
    while left:
        module = left.pop()
        if module not in seen:
            seen.add(module)
            left += [one for one in _imports(module) if one.startswith(("api", "relayer"))]
    return seen


def functions() -> dict[str, Function]:
    """Give every public query by its full name; what asks no connection is none."""
    found = {}
    for name in _reachable():
        if name.endswith("repository") or name == "relayer.store.registries":
            module = importlib.import_module(name)
            for attribute, value in vars(module).items():
                is_own = inspect.iscoroutinefunction(value) and value.__module__ == name
                if is_own and not attribute.startswith("_") and "conn" in inspect.signature(value).parameters:
                    found[f"{name}.{attribute}"] = value
    return found


async def _call(db: Database, name: str, function: Function, acme: Acme, acting: UUID) -> object:
    """Give what a query finds; None where the database or its own check refuses it. What is shared is undone."""
    values = given(name, acme, acting)
    wanted = [one for one in inspect.signature(function).parameters if one != "conn"]
    assert values.keys() >= {*wanted}, f"{name}: give {set(wanted) - values.keys()} a value in `acme.given`"
    try:
        async with db.transaction(acting) as conn, conn.transaction(force_rollback=name in SHARED):
            found = await function(conn, **{one: values[one] for one in wanted})
            return await found.fetchall() if isinstance(found, psycopg.AsyncCursor) else found
    except (psycopg.errors.InsufficientPrivilege, AssertionError):
        return None


def _is_of_tenant(function: Function, values: dict[str, Any]) -> bool:
    """Whether a query is told whose rows it is about."""
    asked = {one: values[one] for one in inspect.signature(function).parameters if one != "conn"}
    return (
        not {"tenant_id", "watched", "by_tenant"}.isdisjoint(asked)
        or isinstance(asked.get("tenant"), UUID)
        or any(hasattr(asked.get(one), "tenant_id") for one in ("wanted", "request"))
    )


async def _call_as_owner(db: Database, function: Function, values: dict[str, Any], tables: list[str]) -> Any:
    """Give what a query finds, and every row after it; nothing is kept."""
    wanted = [one for one in inspect.signature(function).parameters if one != "conn"]
    async with db.transaction() as conn, conn.transaction(force_rollback=True):
        found = None
        try:
            async with conn.transaction():
                found = await function(conn, **{one: values[one] for one in wanted})
                if isinstance(found, psycopg.AsyncCursor):
                    found = await found.fetchall()
        except (psycopg.Error, AssertionError):
            pass
        return found, await _rows_seen(conn, tables)


def _is_nothing(found: object) -> bool:
    if isinstance(found, TenantUsage):
        found = (found.storage_bytes, found.running_jobs, found.waiting_jobs)
    return not found or (isinstance(found, tuple) and all(_is_nothing(part) for part in found))


async def _rows(db: Database, tables: list[str]) -> dict[str, list[Any]]:
    async with db.transaction() as conn:
        return await _rows_seen(conn, tables)


async def _rows_seen(conn: psycopg.AsyncConnection[Any], tables: list[str]) -> dict[str, list[Any]]:
    # The names are of the catalogue.
    asked = {table: f"SELECT t::text FROM {table} t ORDER BY 1".encode() for table in tables}  # noqa: S608
    return {table: await (await conn.execute(query)).fetchall() for table, query in asked.items()}


@pytest.fixture
async def acme(owner_db: Database, registry_row: RegistryRow) -> Acme:
    made = Acme(registry_row)
    async with owner_db.transaction() as conn:
        await made.insert(conn)
    return made


async def test_no_query_finds_or_changes_anything_of_another_tenant(
    owner_db: Database, api_db: Database, acme: Acme, tables: list[str]
) -> None:
    rival = new_id()
    async with owner_db.transaction() as conn:
        await conn.execute("INSERT INTO tenants (id, name, created_at) VALUES (%s, 'rival', now())", [rival])
    queries = functions()
    assert queries.keys() >= SHARED.keys() | FOUND
    before = await _rows(owner_db, tables)
    for name, function in queries.items():
        found = await _call(api_db, name, function, acme, rival)
        assert name in SHARED or _is_nothing(found), f"{name} found {found}"
        assert await _rows(owner_db, tables) == before, f"{name} wrote"


async def test_a_query_that_is_told_its_tenant_keeps_to_it_without_any_policy(
    owner_db: Database, acme: Acme, tables: list[str]
) -> None:
    rival = new_id()
    async with owner_db.transaction() as conn:
        await conn.execute("INSERT INTO tenants (id, name, created_at) VALUES (%s, 'rival', now())", [rival])
    before = await _rows(owner_db, tables)
    told = []
    for name, function in functions().items():
        values = given(name, acme, rival, told=rival)
        if name in SHARED or not _is_of_tenant(function, values):
            continue
        told.append(name)
        found, after = await _call_as_owner(owner_db, function, values, tables)
        assert name in OWN or _is_nothing(found), f"{name} found {found}"
        changed = {table: {*rows} - {*after[table]} for table, rows in before.items()}
        assert not any(changed.values()), f"{name} changed {changed}"
    assert {*told} >= FOUND - WIDE


async def test_the_same_queries_find_what_is_there_as_the_right_tenant(api_db: Database, acme: Acme) -> None:
    queries = functions()
    for name in FOUND:
        assert not _is_nothing(await _call(api_db, name, queries[name], acme, acme.id)), name
