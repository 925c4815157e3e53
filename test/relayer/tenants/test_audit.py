"""The audit log: one chain a tenant, only ever added to, and no change goes unnoticed."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayer.model.ids import new_id
from relayer.seal.strict_json import canonical_json
from relayer.store.database import Database
from relayer.tenants import audit
from relayer.tenants.audit import Actor, ActorType, Context, Event, Origin, Target
from relayer.tenants.audit_chain import GENESIS, ChainBrokenError, Head, Link, follow, link_hash
from relayer.tenants.audit_log import AuditLog
from relayer.tenants.audit_repository import AuditFilter

AT = datetime(2026, 1, 1, 12, 30, 0, 250_000, tzinfo=UTC)
ORIGIN = Origin(
    Actor(ActorType.CLI, "cli:root@host", "root"), Context("192.0.2.7", "curl/8\x1b[31m", "req_1")
)


def event(tenant: UUID | None, number: int = 0) -> Event:
    return Event(
        tenant,
        "tenant.changed",
        ORIGIN,
        AT,
        (Target("tenant", f"tnt_{tenant}", "acme"),),
        before_hash=audit.fingerprint(None),
        after_hash=audit.fingerprint({"number": number}),
        metadata={"changed": ["weight"], "number": number},
    )


async def append(db: Database, tenant: UUID | None, count: int = 1) -> None:
    for number in range(count):
        async with db.transaction() as conn:
            await audit.record(conn, event(tenant, number))


def chain(tenant: UUID | None, count: int) -> list[Link]:
    links: list[Link] = []
    for seq in range(1, count + 1):
        text = event(tenant, seq).text(new_id())
        links.append(Link(seq, text, link_hash(links[-1].hash if links else GENESIS.hash, text)))
    return links


async def test_an_event_has_its_shape_and_its_place(admin_db: Database) -> None:
    tenant = new_id()
    await append(admin_db, tenant, 2)
    newest, first = await AuditLog(admin_db).list(AuditFilter(tenant), None, 10)
    assert json.loads(first.event) == {
        "id": f"aud_{first.id}",
        "version": 1,
        "tenant_id": f"tnt_{tenant}",
        "action": "tenant.changed",
        "outcome": "success",
        "occurred_at": "2026-01-01T12:30:00.250000Z",
        "actor": {"type": "cli", "id": "cli:root@host", "name": "root"},
        "targets": [{"type": "tenant", "id": f"tnt_{tenant}", "name": "acme"}],
        "context": {"address": "192.0.2.7", "user_agent": "curl/8\ufffd[31m", "request_id": "req_1"},
        "before_hash": None,
        "after_hash": "sha256:" + hashlib.sha256(b'{"number":0}').hexdigest(),
        "metadata": {"changed": ["weight"], "number": 0},
    }
    assert first.event.encode() == canonical_json(json.loads(first.event))
    assert (first.seq, first.previous_hash) == (1, None)
    assert first.hash == hashlib.sha256(bytes(32) + first.event.encode()).digest()
    assert (newest.seq, newest.previous_hash) == (2, first.hash)
    assert newest.hash == hashlib.sha256(first.hash + newest.event.encode()).digest()


async def test_events_are_found_by_tenant_action_target_and_time(admin_db: Database) -> None:
    ours, theirs = new_id(), new_id()
    await append(admin_db, ours)
    await append(admin_db, theirs)
    await append(admin_db, None)

    async def found(**wanted: object) -> list[str | None]:
        rows = await AuditLog(admin_db).list(AuditFilter(**wanted), None, 10)  # type: ignore[arg-type]
        return [json.loads(row.event)["tenant_id"] for row in rows]

    assert await found() == [None, f"tnt_{theirs}", f"tnt_{ours}"]
    assert await found(tenant_id=ours) == [f"tnt_{ours}"]
    assert await found(platform=True) == [None]
    assert await found(target=f"tnt_{theirs}", action="tenant.changed") == [f"tnt_{theirs}"]
    assert await found(tenant_id=ours, target=f"tnt_{theirs}") == []
    assert await found(action="tenant.created") == []
    assert len(await found(occurred_from=AT, occurred_to=AT)) == 3
    assert await found(occurred_from=AT.replace(microsecond=250_001)) == []
    assert await found(occurred_to=AT.replace(microsecond=249_999)) == []


async def test_many_at_once_make_one_chain(admin_db: Database) -> None:
    tenants = [new_id(), new_id(), None]
    await asyncio.gather(*(append(admin_db, tenant, 5) for tenant in tenants for _ in range(4)))
    verdicts = [verdict async for verdict in AuditLog(admin_db).verify_all()]
    assert {verdict.tenant_id for verdict in verdicts} == set(tenants)
    assert [(verdict.head.seq, verdict.broken) for verdict in verdicts] == [(20, None)] * 3


async def test_what_is_rolled_back_leaves_no_gap(admin_db: Database) -> None:
    tenant = new_id()
    await append(admin_db, tenant)
    async with admin_db.transaction() as conn:
        await audit.record(conn, event(tenant))
        raise psycopg.Rollback
    await append(admin_db, tenant)
    assert (await AuditLog(admin_db).verify(tenant)).seq == 2


@given(
    count=st.integers(2, 6),
    position=st.integers(0, 5),
    how=st.sampled_from(["text", "hash", "drop", "swap", "twice", "tenant"]),
)
def test_every_change_of_a_chain_is_found(count: int, position: int, how: str) -> None:
    tenant = UUID(int=7)
    links = chain(tenant, count)
    assert follow(tenant, links) == Head(count, links[-1].hash)
    assert follow(tenant, links[1:], Head(1, links[0].hash)) == Head(count, links[-1].hash)
    at = position % (count - 1)
    one = links[at]
    if how == "text":
        links[at] = Link(one.seq, one.event.replace("weight", "height"), one.hash)
    elif how == "hash":
        links[at] = Link(one.seq, one.event, bytes(32))
    elif how == "drop":
        del links[at]
    elif how == "swap":
        following = links[at + 1]
        links[at], links[at + 1] = (
            Link(one.seq, following.event, following.hash),
            Link(following.seq, one.event, one.hash),
        )
    elif how == "twice":
        links.insert(at, one)
    with pytest.raises(ChainBrokenError):
        follow(UUID(int=8) if how == "tenant" else tenant, links)


TAMPERINGS: Sequence[tuple[str, int, str]] = (
    ("UPDATE audit_events SET event = replace(event, 'weight', 'height') WHERE seq = 2", 2, "altered"),
    ("UPDATE audit_events SET hash = sha256('') WHERE seq = 3", 3, "altered"),
    ("DELETE FROM audit_events WHERE seq = 2", 2, "missing"),
    ("DELETE FROM audit_events WHERE seq = 3", 3, "missing"),
    ("DELETE FROM audit_heads", 1, "missing"),
    ("UPDATE audit_heads SET hash = sha256('')", 3, "not the end"),
)


async def test_tampering_past_every_guard_is_found(
    admin_db: Database, superuser: psycopg.Connection[object]
) -> None:
    for statement, seq, what in TAMPERINGS:
        tenant = new_id()
        await append(admin_db, tenant, 3)
        head = await AuditLog(admin_db).verify(tenant)
        superuser.execute(statement.encode())
        with pytest.raises(ChainBrokenError, match=f"event {seq} .*{what}"):
            await AuditLog(admin_db).verify(tenant)
        assert head.seq == 3
        superuser.execute("DELETE FROM audit_events")
        superuser.execute("DELETE FROM audit_heads")


async def test_a_chain_written_anew_differs_from_the_end_that_was_kept(
    admin_db: Database, superuser: psycopg.Connection[object]
) -> None:
    tenant = new_id()
    await append(admin_db, tenant, 3)
    log = AuditLog(admin_db)
    kept = await log.verify(tenant)
    await append(admin_db, tenant)
    assert (await log.verify(tenant, [kept])).seq == 4
    superuser.execute("DELETE FROM audit_events")
    superuser.execute("DELETE FROM audit_heads")
    await append(admin_db, tenant, 2)
    assert (await log.verify(tenant)).seq == 2
    with pytest.raises(ChainBrokenError, match="event 3 was known"):
        await log.verify(tenant, [kept])
    await append(admin_db, tenant)
    with pytest.raises(ChainBrokenError, match="event 3 is not the one"):
        await log.verify(tenant, [kept])


async def test_no_role_changes_what_is_written(
    owner_db: Database, api_db: Database, relayer_db: Database, admin_db: Database
) -> None:
    tenant = new_id()
    await append(admin_db, tenant)
    for db in (owner_db, api_db, relayer_db, admin_db):
        await refuses_every_change(db, tenant)
    assert (await AuditLog(admin_db).verify(tenant)).seq == 1
    for db in (api_db, relayer_db, admin_db):
        for statement in (
            "UPDATE audit_heads SET seq = 0",
            "INSERT INTO audit_heads VALUES (gen_random_uuid(), 1, sha256(''))",
            "INSERT INTO audit_events (tenant_id, event, seq, hash) SELECT current_tenant(), '{}', 9, sha256('')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with db.transaction(tenant) as conn:
                    await conn.execute(statement.encode())
    assert (await AuditLog(admin_db).verify(tenant)).seq == 1


async def refuses_every_change(db: Database, tenant: UUID) -> None:
    for statement in (
        "UPDATE audit_events SET event = event",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "DELETE FROM audit_heads",
        "TRUNCATE audit_heads",
        "SET session_replication_role = replica",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with db.transaction(tenant) as conn:
                await conn.execute(statement.encode())


async def test_the_api_sees_and_adds_to_its_own_tenants_chain_only(
    api_db: Database, admin_db: Database, relayer_db: Database
) -> None:
    ours, theirs = new_id(), new_id()
    await append(admin_db, theirs)
    await append(admin_db, None)
    async with api_db.transaction(ours) as conn:
        await audit.record(conn, event(ours))
    for other in (theirs, None):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with api_db.transaction(ours) as conn:
                await audit.record(conn, event(other))
    # What an event says of its tenant is whose chain it stands in.
    with pytest.raises(psycopg.errors.CheckViolation):
        async with api_db.transaction(ours) as conn:
            await conn.execute(
                "INSERT INTO audit_events (tenant_id, event) VALUES (%s, %s)",
                [ours, event(theirs).text(new_id())],
            )
    async with api_db.transaction(ours) as conn:
        rows = await (await conn.execute("SELECT tenant_id FROM audit_events")).fetchall()
    assert rows == [(ours,)]
    # Loops change nothing that is on record, and the ends of chains are for whoever checks them.
    for db, statement in (
        (relayer_db, "SELECT * FROM audit_events"),
        (relayer_db, "INSERT INTO audit_events (tenant_id, event) VALUES (gen_random_uuid(), '{}')"),
        (relayer_db, "SELECT * FROM audit_heads"),
        (api_db, "SELECT * FROM audit_heads"),
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with db.transaction(ours) as conn:
                await conn.execute(statement.encode())
