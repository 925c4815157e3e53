"""What one tenant has, and what every query is called with to get at it."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from relayer.jobs.blob_repository import MadeBlob
from relayer.jobs.dead_letter_repository import DeadLetterFilter, KeyUse, Letter, Redrive
from relayer.jobs.listing_repository import JobFilter
from relayer.jobs.records import Priority
from relayer.jobs.submission_repository import NewJob, insertion
from relayer.model.ids import new_id
from relayer.seal.tree import Word
from relayer.store.registries import RegistryRow
from relayer.tenants.administration_repository import KindCap, TenantFilter
from relayer.tenants.audit import PLATFORM, Event
from relayer.tenants.audit_repository import AuditFilter
from relayer.tenants.key_repository import ApiKey
from relayer.tenants.kind_lane_repository import KindLane
from relayer.tenants.plans import DEFAULT_PLAN, PLANS
from relayer.tenants.principal import Mode
from relayer.tenants.records import Tenant
from relayer.tenants.request_key_repository import RequestKey
from relayer.tenants.signing_repository import SigningKey
from relayer.tenants.token_claims import TokenClaims

NOW = datetime.now(UTC)
HASH = hashlib.sha256(b"secret").digest()
ROUTE, KEY = "POST /v1/jobs", "order-17"


class Acme:
    """What a tenant has: a job that failed, one that is confirmed, one that waits, and what belongs to them."""

    def __init__(self, registry: RegistryRow) -> None:
        self.registry = registry
        self.id, self.failed, self.confirmed, self.waiting = (new_id() for _ in range(4))
        self.batch, self.key, self.attempt, self.token = (new_id() for _ in range(4))
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
            "INSERT INTO revoked_tokens VALUES (%s, %s, %s, now() + '1 d', now())",
            [self.token, self.id, self.key],
        )
        await run(
            "INSERT INTO signing_keys VALUES ('kid', 'current', %s, 'private', now(), now())", [bytes(32)]
        )
        await run("INSERT INTO audit_events (tenant_id, event) VALUES (%s, %s)", [self.id, self.event()])
        await run("INSERT INTO usage_counters VALUES (current_date, 'jobs', %s, 0, 3)", [self.id])
        await run("INSERT INTO kind_caps VALUES ('digest', 3)")
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
            ("keys", "made_id", self.key),
        ):
            await run(
                f"""INSERT INTO idempotency_keys (tenant_id, route, key, fingerprint, {column}, created_at, expires_at)
                    VALUES (%s, %s, %s, %s, %s, now(), now() + '1 d')""".encode(),  # noqa: S608 - constants only
                [self.id, route, KEY, HASH, made],
            )

    def event(self) -> str:
        return Event(self.id, "api_key.created", PLATFORM, NOW).text(new_id())


def _wanted(module: str, tenant: UUID) -> object:
    """Give the filter of a module's lists, over what acme has, or another tenant would; or what it writes."""
    return {
        "dead_letter_repository": DeadLetterFilter(tenant),
        "audit_repository": AuditFilter(tenant),
        "administration_repository": TenantFilter("acme"),
        "kind_lane_repository": KindLane("digest", 1),
    }.get(module, JobFilter(tenant, metadata={"order": "17"}))


def _key(name: str, acme: Acme) -> object:
    """Give what is called a key: of the API, of a signature, or of idempotence."""
    if name.endswith("insert_key"):
        return ApiKey(new_id(), acme.id, "k", Mode.LIVE, "last", ["jobs:read"], [], NOW, NOW + timedelta(1))
    if name.endswith("signing_repository.insert"):
        return SigningKey("next", "next", bytes(32), b"private", NOW)
    return KEY if name.endswith("claim_key") else KeyUse("redrives", KEY, HASH, NOW + timedelta(1))


def _tenant(name: str, acme: Acme, told: UUID) -> object:
    """Give a tenant: itself where it is written, its id elsewhere."""
    if not name.endswith(("insert_tenant", "update_tenant")):
        return told
    tenant_id, called = (acme.id, "acme") if name.endswith("update_tenant") else (new_id(), "new")
    limits = replace(PLANS[DEFAULT_PLAN], waiting_jobs=1)
    return Tenant(tenant_id, called, DEFAULT_PLAN, 7, limits, False, None, None, 2, NOW)


def given(name: str, acme: Acme, acting: UUID, told: UUID | None = None) -> dict[str, Any]:
    """Give by parameter what the functions are called with; `told` is the tenant that they are told, if not acme."""
    told = told or acme.id
    _, _, module, function = name.rsplit(".", 3)
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
    day = NOW.date()
    return {
        "tenant": _tenant(name, acme, told),
        "tenant_id": told,
        "name": "acme",
        "job_id": acme.confirmed if "batches" in name else acme.failed,
        "ids": [acme.failed, acme.confirmed],
        "watched": {acting: [acme.failed, acme.waiting]},
        "by_tenant": {acting: [acme.failed, acme.waiting]},
        "wanted": _wanted(module, told),
        "before": NOW + timedelta(1)
        if function in {"next_due", "forget_retired", "forget_expired"}
        else None,
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
        "key": _key(name, acme),
        "fingerprint": bytes(32),
        "jobs": insertion(acme.id, "POST /v1/jobs", [new]),
        "request": RequestKey(told, "keys", KEY, HASH),
        "made_id": acme.key,
        "made": [MadeBlob(acme.id, HASH, 6, "text/plain", b"secret")],
        "uses": [(acme.id, HASH, acme.failed)],
        "blob_hash": HASH,
        "hashes": [HASH],
        "digest": hashlib.sha256(b"new").digest(),
        "digests": [HASH],
        "pepper_version": 1,
        "used": {acme.key: NOW},
        "kid": "kid",
        "token": TokenClaims(new_id(), acme.key, acme.id, frozenset(), NOW, NOW + timedelta(1)),
        "event": acme.event(),
        "up_to": 10,
        "kind": "digest",
        "cap": KindCap("digest", 1),
        "for_change": False,
        "day": day,
        "month": day.replace(day=1),
        "days": [day],
        "months": [day.replace(day=1)],
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
        "words": [0] if function == "finished" else [Word(0, 1, HASH)],
        "lane": 0,
        "news": NOW,
        "ticket": 1,
        "leaves": {1: HASH},
        "reason": "test",
        "detail": "test",
        "transaction_hash": HASH,
        "block_number": 1,
        "block_hash": HASH,
        "gas_used": 1,
        "chain_id": acme.registry.chain_id,
        "registry": acme.registry.address,
        "address": acme.registry.address,
        "first_block": 0,
    }
