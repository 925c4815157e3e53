"""What a migration does to the rows that it finds."""

import hashlib
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

import relayer.store
from relayer.local.postgres import EmbeddedPostgres
from relayer.model.ids import new_id
from relayer.store import roles

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
Upgrade = Callable[[str], None]


@pytest.fixture
def owner_url(postgres_server: EmbeddedPostgres, postgres_urls: Any) -> Iterator[str]:
    """A database of its own, without a schema."""
    name = f"m_{secrets.token_hex(4)}"
    address = urlsplit(postgres_urls.owner)
    with psycopg.connect(postgres_server.admin_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} OWNER {roles.OWNER}".encode())
        yield address._replace(path=f"/{name}").geturl()
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def upgrade(owner_url: str) -> Upgrade:
    def run(revision: str) -> None:
        url = owner_url.replace("postgresql://", "postgresql+psycopg://", 1)
        config = Config()
        config.set_main_option("script_location", str(Path(relayer.store.__path__[0]) / "migrations"))
        with create_engine(url, poolclass=NullPool).connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            connection.commit()

    return run


def test_blobs_that_were_there_are_counted_used_and_marked(owner_url: str, upgrade: Upgrade) -> None:
    upgrade("0002")
    tenants = [new_id(), new_id()]
    named, other, unowned = [hashlib.sha256(text).digest() for text in (b"named", b"other", b"unowned")]
    reference = f'"blob":"sha256:{named.hex()}"'
    inputs = [
        f'{{"a":[{{{reference}}},{{{reference}}}],{reference}}}',
        '{"text":"\\"blob\\":\\"sha256:' + named.hex() + '\\""}',
        '{"text":"none"}',
    ]
    jobs = [new_id() for _ in inputs]
    with psycopg.connect(owner_url) as conn:
        for number, tenant in enumerate(tenants):
            conn.execute(
                "INSERT INTO tenants (id, name, created_at) VALUES (%s, %s, now())", [tenant, f"t-{number}"]
            )
        for blob_hash, size in ((named, 5), (other, 10_000), (unowned, 7)):
            conn.execute("INSERT INTO blobs VALUES (%s, %s, now())", [blob_hash, size])
        for tenant, blob_hash in ((tenants[0], named), (tenants[0], other), (tenants[1], named)):
            conn.execute("INSERT INTO blob_owners VALUES (%s, %s, 'a/b', now())", [tenant, blob_hash])
        registry = conn.execute(
            "INSERT INTO registries (chain_id, address, first_block) VALUES (1, %s, 0) RETURNING id",
            [bytes(20)],
        ).fetchone()
        assert registry is not None
        for number, (job, text) in enumerate(zip(jobs, inputs, strict=True)):
            conn.execute(
                """INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, input, input_hash, metadata,
                                     salt, max_attempts, run_at, created_at)
                   VALUES (%s, %s, %s, %s, 'digest', 'created', %s, %s, '{}', %s, 1, now(), now())""",
                [job, tenants[0], registry[0], number, text, bytes(32), bytes(32)],
            )
    upgrade("0003")
    with psycopg.connect(owner_url) as conn:
        assert conn.execute("SELECT * FROM blob_uses").fetchall() == [(tenants[0], named, jobs[0])]
        assert dict(conn.execute("SELECT tenant_id, bytes FROM tenant_storage").fetchall()) == {
            tenants[0]: 10_005,
            tenants[1]: 5,
        }
        marked = conn.execute("SELECT hash FROM blobs WHERE unowned_since IS NOT NULL").fetchall()
        assert marked == [(unowned,)]
        caps = conn.execute("SELECT DISTINCT storage_cap FROM tenants").fetchall()
        assert caps == [(1 << 40,)]
        conn.execute("DELETE FROM blob_owners WHERE tenant_id = %s", [tenants[0]])
        assert conn.execute("SELECT * FROM blob_uses").fetchall() == []
        marked = conn.execute("SELECT hash FROM blobs WHERE unowned_since IS NOT NULL").fetchall()
        assert set(marked) == {(unowned,), (other,)}


def test_jobs_of_kinds_that_were_unknown_say_so_no_more(owner_url: str, upgrade: Upgrade) -> None:
    upgrade("0004")
    tenant, job, redrive = new_id(), new_id(), new_id()
    with psycopg.connect(owner_url) as conn:
        conn.execute("INSERT INTO tenants (id, name, created_at) VALUES (%s, 't', now())", [tenant])
        conn.execute("INSERT INTO registries (chain_id, address, first_block) VALUES (1, %s, 0)", [bytes(20)])
        conn.execute(
            """INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, status_reason, input, input_hash,
                                 metadata, salt, max_attempts, run_at, created_at)
               SELECT %s, %s, id, 0, 'gone', 'created', 'unknown_kind', '{}', %s, '{}', %s, 1, now(), now()
               FROM registries""",
            [job, tenant, bytes(32), bytes(32)],
        )
        conn.execute(
            """INSERT INTO redrives (id, tenant_id, actor, failed_to, rate, matched, created_at, next_run_at)
               VALUES (%s, %s, 'test', now(), 1, 0, now(), now())""",
            [redrive, tenant],
        )
    upgrade("0005")
    with psycopg.connect(owner_url) as conn:
        assert conn.execute("SELECT status_reason FROM jobs").fetchall() == [("queued",)]
        assert conn.execute("SELECT taken_to, taken_to_id FROM redrives").fetchall() == [(None, None)]
        conn.execute("INSERT INTO active_queues VALUES (%s, 'gone', 1, now(), 0, 'unknown_kind')", [tenant])


def test_the_jobs_of_the_day_count_from_the_start(owner_url: str, upgrade: Upgrade) -> None:
    upgrade("0006")
    tenant = new_id()
    with psycopg.connect(owner_url) as conn:
        conn.execute("INSERT INTO tenants (id, name, created_at) VALUES (%s, 't', now())", [tenant])
        conn.execute("INSERT INTO registries (chain_id, address, first_block) VALUES (1, %s, 0)", [bytes(20)])
        for number, age in enumerate(("0 s", "0 s", "25 h")):
            conn.execute(
                """INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, input, input_hash, metadata,
                                     salt, max_attempts, run_at, created_at)
                   SELECT %s, %s, id, %s, 'digest', 'created', '{}', %s, '{}', %s, 1, now(), now() - %s::interval
                   FROM registries""",
                [new_id(), tenant, number, bytes(32), bytes(32), age],
            )
    upgrade("0009")
    with psycopg.connect(owner_url) as conn:
        counted = conn.execute("SELECT meter, tenant_id, quantity FROM usage_counters").fetchall()
        assert counted == [("jobs", tenant, 2)]
        conn.execute(
            "INSERT INTO outbox (tenant_id, topic, payload, created_at) VALUES (%s, 'quota.threshold', '{}', now())",
            [tenant],
        )


def test_batches_that_waited_keep_what_was_said(owner_url: str, upgrade: Upgrade) -> None:
    upgrade("0011")
    said = ["integrity", "nonce 3 was used in a final block by somebody", "Panic(17)", None]
    with psycopg.connect(owner_url) as conn:
        conn.execute("INSERT INTO registries (chain_id, address, first_block) VALUES (1, %s, 0)", [bytes(20)])
        for number, reason in enumerate(said):
            conn.execute(
                """INSERT INTO batches (id, registry_id, lane, root, state, reason, leaf_count, sealed_at)
                   SELECT %s, id, 0, %s, %s, %s, 1, %s FROM registries""",
                [new_id(), bytes([number]) * 32, "needs_human" if reason else "sealed", reason, NOON],
            )
    upgrade("0012")
    with psycopg.connect(owner_url) as conn:
        rows = conn.execute("SELECT reason, detail FROM batches ORDER BY root").fetchall()
    assert rows == [("integrity", said[0]), ("foreign_nonce", said[1]), ("reverted", said[2]), (None, None)]


def test_every_class_of_tickets_goes_on_beyond_what_was_handed_out(owner_url: str, upgrade: Upgrade) -> None:
    upgrade("0012")
    with psycopg.connect(owner_url) as conn:
        conn.execute(
            "INSERT INTO registries (chain_id, address, first_block) VALUES (1, %s, 0), (2, %s, 0)",
            [bytes(20), bytes(20)],
        )
        conn.execute(
            "SELECT open_ticket_lane(1::smallint, 0::smallint), open_ticket_lane(1::smallint, 3::smallint)"
        )
        conn.execute("SELECT next_ticket(1::smallint, 0::smallint) FROM generate_series(1, 9000)")
    upgrade("0013")
    with psycopg.connect(owner_url) as conn:
        first = conn.execute(
            "SELECT next_ticket(1::smallint, 0::smallint, class) FROM generate_series(0, 31) class"
        ).fetchall()
        assert min(first) > (8_999,)
        # As processes of the version before draw.
        assert conn.execute("SELECT next_ticket(1::smallint, 3::smallint)").fetchall() == [(3 << 56,)]
        left = conn.execute(
            "SELECT count(*) FROM pg_sequences WHERE sequencename IN ('tickets_1_0', 'tickets_1_3')"
        )
        assert left.fetchall() == [(0,)]
