"""Every query that an API process can reach, in its role and as another tenant: it finds nothing and changes nothing.

The functions are those of every repository that `api.app` imports. A parameter without a value here fails the test:
add one to `_given`, naming what the tenant acme has.
"""

import ast
import hashlib
import importlib
import inspect
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from relayer.jobs.blob_repository import MadeBlob
from relayer.jobs.dead_letter_repository import DeadLetterFilter, KeyUse, Letter, Redrive
from relayer.jobs.listing_repository import JobFilter
from relayer.jobs.records import Priority
from relayer.jobs.submission_repository import NewJob
from relayer.model.ids import new_id
from relayer.seal.tree import Word
from relayer.store.database import Database
from relayer.store.registries import RegistryRow
from relayer.tenants.repository import ApiKey

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime.now(UTC)
HASH = hashlib.sha256(b"secret").digest()
ROUTE, KEY = "POST /v1/jobs", "order-17"

SHARED = {
    "relayer.batches.repository.root_of": "a batch holds jobs of many tenants; its root is public on chain",
    "relayer.batches.repository.words_of": "so are its words",
    "relayer.batches.repository.leaves_of_word": "leaves are salted hashes, which tell nothing",
    "relayer.jobs.blob_repository.in_files": "whether content lies in a file; only the janitor calls it",
    "relayer.store.registries.find": "a registry belongs to the platform",
    "relayer.tenants.repository.authenticate": "the one look before the tenant is known, by a key's digest",
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
    "relayer.jobs.repository.attempts",
    "relayer.jobs.repository.events",
    "relayer.jobs.repository.job",
    "relayer.jobs.repository.jobs_by_id",
    "relayer.jobs.submission_repository.count_waiting",
    "relayer.jobs.submission_repository.used_keys",
    "relayer.jobs.watch_repository.versions",
}
"""What finds something as the right tenant, so that finding nothing means something."""

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
    """Give every public query by its full name."""
    found = {}
    for name in _reachable():
        if name.endswith("repository") or name == "relayer.store.registries":
            module = importlib.import_module(name)
            for attribute, value in vars(module).items():
                is_own = inspect.iscoroutinefunction(value) and value.__module__ == name
                if is_own and not attribute.startswith("_"):
                    found[f"{name}.{attribute}"] = value
    return found


class _Acme:
    """What a tenant has: a job that failed, one that is confirmed, one that waits, and what belongs to them."""

    def __init__(self, registry: RegistryRow) -> None:
        self.registry = registry
        self.id, self.failed, self.confirmed, self.waiting = (new_id() for _ in range(4))
        self.batch, self.key, self.attempt = (new_id() for _ in range(3))
        self.redrive = Redrive(
            new_id(), self.id, "key_x", None, None, None, NOW, None, 1, 1, 0, NOW, NOW, None
        )

    async def insert(self, conn: psycopg.AsyncConnection[Any]) -> None:
        run = conn.execute
        await run("INSERT INTO tenants (id, name, created_at) VALUES (%s, 'acme', now())", [self.id])
        await run(
            "INSERT INTO api_keys VALUES (%s, %s, 'k', %s, 1, 'last', '{jobs:read}', now(), now() + '1 d')",
            [self.key, self.id, HASH],
        )
        await run(
            """INSERT INTO batches (id, registry_id, lane, root, state, leaf_count, transaction_hash, block_number,
                                    block_hash, sealed_at, final_at)
               VALUES (%s, %s, 0, %s, 'final', 1, %s, 7, %s, now(), now())""",
            [self.batch, self.registry.id, HASH, HASH, HASH],
        )
        await run("INSERT INTO batch_words VALUES (%s, 0, %s, %s)", [self.batch, HASH, HASH])
        await run("INSERT INTO batch_leaves VALUES (%s, 1, %s)", [self.batch, HASH])
        for number, (job, state) in enumerate(
            [(self.failed, "failed"), (self.confirmed, "confirmed"), (self.waiting, "created")]
        ):
            done = state == "confirmed"
            await run(
                """INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, input, input_hash, metadata, salt,
                                     max_attempts, run_at, created_at, error, finished_at, output_hash, output_size,
                                     output_media_type, result_ready_at, confirmed_at, batch_id)
                   VALUES (%(id)s, %(tenant)s, %(registry)s, %(ticket)s, 'digest', %(state)s, '{}', %(hash)s,
                           '{"order": "17"}', %(hash)s, 3, now(), now(), %(error)s, %(finished)s, %(output)s, %(size)s,
                           %(media)s, %(ready)s, %(ready)s, %(batch)s)""",
                {
                    "id": job,
                    "tenant": self.id,
                    "registry": self.registry.id,
                    "ticket": number,
                    "state": state,
                    "hash": HASH,
                    "error": '{"code": "busy"}' if state == "failed" else None,
                    "finished": NOW - timedelta(minutes=1) if state == "failed" else None,
                    "output": HASH if done else None,
                    "size": 6 if done else None,
                    "media": "text/plain" if done else None,
                    "ready": NOW if done else None,
                    "batch": self.batch if done else None,
                },
            )
            await run(
                "INSERT INTO job_events (job_id, seq, tenant_id, to_state, actor, occurred_at) VALUES (%s, 1, %s, %s, 'api', now())",
                [job, self.id, state],
            )
        await run(
            """INSERT INTO attempts (id, job_id, tenant_id, kind, priority, number, mode, state, dispatched_at, started_at,
                                     finished_at)
               VALUES (%s, %s, %s, 'digest', 1, 1, 'inline', 'failed', now(), now(), now())""",
            [self.attempt, self.failed, self.id],
        )
        await run(
            "INSERT INTO blobs (hash, size, content, created_at) VALUES (%s, 6, 'secret', now())", [HASH]
        )
        await run("INSERT INTO blob_owners VALUES (%s, %s, 'text/plain', now())", [self.id, HASH])
        await run("INSERT INTO blob_uses VALUES (%s, %s, %s)", [self.id, HASH, self.waiting])
        await run(
            """INSERT INTO redrives (id, tenant_id, actor, failed_to, rate, matched, redriven, created_at, next_run_at)
               VALUES (%s, %s, 'key_x', %s, 1, 1, 0, %s, %s)""",
            [self.redrive.id, self.id, NOW, NOW, NOW],
        )
        for route, column, made in (
            (ROUTE, "job_id", self.waiting),
            ("redrives", "redrive_id", self.redrive.id),
        ):
            await run(
                f"""INSERT INTO idempotency_keys (tenant_id, route, key, fingerprint, {column}, created_at, expires_at)
                    VALUES (%s, %s, %s, %s, %s, now(), now() + '1 d')""".encode(),  # noqa: S608 - constants only
                [self.id, route, KEY, HASH, made],
            )


def _given(name: str, acme: _Acme, acting: UUID) -> dict[str, Any]:
    """Give by parameter what the functions are called with."""
    is_letters = name.startswith("relayer.jobs.dead_letter_repository")
    new = NewJob(
        id=new_id(),
        tenant=acme.id,
        registry=acme.registry.id,
        kind="digest",
        priority=Priority.NORMAL,
        input="{}",
        input_hash=HASH,
        metadata={},
        salt=HASH,
        max_attempts=1,
        first_backoff=timedelta(1),
        longest_backoff=timedelta(1),
        retry_codes=None,
        queue_limit=None,
        run_limit=timedelta(1),
        total_limit=None,
        run_at=NOW,
        rerun_of=None,
        at=NOW,
        route=ROUTE,
        key="new",
        fingerprint=HASH,
        key_expires_at=NOW,
    )
    key = ApiKey(new_id(), acme.id, "k", hashlib.sha256(b"new").digest(), 1, "last", [], NOW, NOW)
    values: dict[str, Any] = {
        "tenant": acme.id,
        "tenant_id": acme.id,
        "name": "acme",
        "job_id": acme.confirmed if "batches" in name else acme.failed,
        "ids": [acme.failed, acme.confirmed],
        "watched": {acting: [acme.failed, acme.waiting]},
        "wanted": DeadLetterFilter(acme.id) if is_letters else JobFilter(acme.id, metadata={"order": "17"}),
        "before": NOW + timedelta(1) if name.endswith("next_due") else None,
        "after": 0,
        "limit": 10,
        "at": NOW,
        "expires_at": NOW + timedelta(1),
        "retry_at": NOW,
        "next_run_at": NOW,
        "finished_at": NOW,
        "grace": timedelta(0),
        "route": ROUTE,
        "keys": [KEY],
        "key": KEY if name.endswith("claim_key") else KeyUse("redrives", KEY, HASH, NOW + timedelta(1)),
        "fingerprint": bytes(32),
        "jobs": [new],
        "made": [MadeBlob(acme.id, HASH, 6, "text/plain", b"secret")],
        "uses": [(acme.id, HASH, acme.failed)],
        "blob_hash": HASH,
        "hashes": [HASH],
        "digest": HASH,
        "redrive": replace(acme.redrive, id=new_id()),
        "redrive_id": acme.redrive.id,
        "one": acme.redrive,
        "moved": 1,
        "last": Letter(acme.failed, 1, NOW),
        "last_tenant": None,
        "key_id": acme.key,
        "registry_id": acme.registry.id,
        "batch_id": acme.batch,
        "index": 0,
        "root": HASH,
        "words": [Word(0, 1, HASH)],
        "leaves": {1: HASH},
        "reason": "test",
        "transaction_hash": HASH,
        "block_number": 1,
        "block_hash": HASH,
        "gas_used": 1,
        "chain_id": acme.registry.chain_id,
        "registry": acme.registry.address,
        "address": acme.registry.address,
        "first_block": 0,
    }
    if name.endswith("insert_key"):
        values["key"] = key
    return values


async def _call(db: Database, name: str, function: Function, acme: _Acme, acting: UUID) -> object:
    """Give what a query finds; None where the database or its own check refuses it."""
    given = _given(name, acme, acting)
    wanted = [one for one in inspect.signature(function).parameters if one != "conn"]
    assert given.keys() >= {*wanted}, f"{name}: give {set(wanted) - given.keys()} a value in _given"
    try:
        async with db.transaction(acting) as conn:
            return await function(conn, **{one: given[one] for one in wanted})
    except (psycopg.errors.InsufficientPrivilege, AssertionError):
        return None


def _is_nothing(found: object) -> bool:
    return not found or (isinstance(found, tuple) and all(_is_nothing(part) for part in found))


async def _rows(db: Database, tables: list[str]) -> dict[str, list[Any]]:
    async with db.transaction() as conn:
        # The names are of the catalogue.
        asked = {table: f"SELECT t::text FROM {table} t ORDER BY 1".encode() for table in tables}  # noqa: S608
        return {table: await (await conn.execute(query)).fetchall() for table, query in asked.items()}


@pytest.fixture
async def acme(owner_db: Database, registry_row: RegistryRow) -> _Acme:
    made = _Acme(registry_row)
    async with owner_db.transaction() as conn:
        await made.insert(conn)
    return made


async def test_no_query_finds_or_changes_anything_of_another_tenant(
    owner_db: Database, api_db: Database, acme: _Acme, tables: list[str]
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


async def test_the_same_queries_find_what_is_there_as_the_right_tenant(api_db: Database, acme: _Acme) -> None:
    queries = functions()
    for name in FOUND:
        assert not _is_nothing(await _call(api_db, name, queries[name], acme, acme.id)), name
