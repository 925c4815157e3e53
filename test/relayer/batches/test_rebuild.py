"""A database that is lost, or older than the chain, gets back what was confirmed, and every receipt verifies."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from relayer.batches.handlers import on_final_event
from relayer.batches.manifest import SPACE, ManifestCipher
from relayer.batches.rebuild import Rebuilder, RebuildRefusedError, Rebuilt
from relayer.batches.receipts import ReceiptService
from relayer.batches.reconciler import Mode
from relayer.chain.verifier import Rpc, verify_on_chain
from relayer.model.ids import new_id
from relayer.seal.tree import Word
from relayer.seal.verify import Outcome, Pin
from relayer.store import leases, registries
from relayer.store.blobs import SMALL_BYTES, LocalBlobStore
from relayer.store.database import Database
from relayer.store.ticket_repository import MARGIN
from relayer.tenants.audit import PLATFORM

from .conftest import KEY, InsertFinished, MakeBatcher
from .house import House, deployed, house_beside_chain, node_of_house, registry_of_house  # noqa: F401 - fixtures too

TABLES = {
    "batches": """SELECT root, lane, state, leaf_count, transaction_hash, block_number, block_hash
                  FROM batches ORDER BY root""",
    "words": """SELECT b.root, w.index, w.mask, w.root FROM batch_words w JOIN batches b ON b.id = w.batch_id
                ORDER BY b.root, w.index""",
    "leaves": """SELECT b.root, l.ticket, l.leaf FROM batch_leaves l JOIN batches b ON b.id = l.batch_id
                 ORDER BY l.ticket""",
    "jobs": """SELECT j.id, j.tenant_id, t.name, j.ticket, j.kind, j.state, j.input_hash, j.metadata, j.salt,
                      j.output_hash, j.output_size, j.output_media_type, j.created_at, j.result_ready_at, b.root
               FROM jobs j JOIN tenants t ON t.id = j.tenant_id JOIN batches b ON b.id = j.batch_id
               WHERE j.state = 'confirmed' ORDER BY j.ticket""",
}


async def tables_of(house: House) -> dict[str, list[tuple[Any, ...]]]:
    return {name: await house.rows(query) for name, query in TABLES.items()}


async def two_batches(house: House) -> list[UUID]:
    """Confirm two batches that share a word."""
    ids = []
    for tickets in ([0, 1, 300], [2, 301, 9_000]):
        ids += await house.seal(tickets)
        rows = await house.rows(
            "SELECT w.index, w.mask, w.root FROM batch_words w JOIN batches b ON b.id = w.batch_id "
            "WHERE b.state = 'sealed' ORDER BY w.index"
        )
        await house.confirm([Word(index, int.from_bytes(mask), root) for index, mask, root in rows])
        await house.index()
    return ids


async def lose_everything(house: House, superuser: psycopg.Connection[Any], tables: list[str]) -> None:
    """Empty the database, and make the registry known again as an operator does."""
    superuser.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY".encode())
    for (name,) in superuser.execute(
        "SELECT quote_ident(sequencename) FROM pg_sequences WHERE sequencename LIKE 'tickets%'"
    ).fetchall():
        superuser.execute(f"DROP SEQUENCE {name}".encode())
    async with house.owner.transaction() as conn:
        house.registry = await registries.register(
            conn, house.registry.chain_id, house.registry.address, house.registry.first_block
        )


def rebuilder(house: House, blobs: LocalBlobStore, key: bytes = KEY) -> Rebuilder:
    return Rebuilder(
        house.owner,
        house.rpc,
        blobs,
        ManifestCipher(key),
        house.registry,
        handler=on_final_event,
        origin=PLATFORM,
        clock=house.clock,
    )


async def require_valid(house: House, db: Database, tenant: UUID, ids: list[UUID]) -> None:
    pin = Pin(house.registry.chain_id, house.registry.address)
    with Rpc(house.rpc.address) as node:
        for job_id in ids:
            receipt = await ReceiptService(db).receipt(tenant, job_id)
            assert receipt is not None
            verdict = verify_on_chain(receipt, node, pin)
            assert verdict.outcome is Outcome.VALID, verdict.sentence


async def require_agreement(house: House) -> None:
    """The indexer reads everything anew, and then both sides agree."""
    async with house.db.transaction() as conn:
        epoch = await leases.acquire(conn, "indexer", "test", timedelta(hours=1))
    assert epoch is not None
    house.indexer_epoch = epoch
    await house.index()
    report = await house.reconciler().run(Mode.FULL)
    assert report.found == []


async def let_go(house: House) -> None:
    await house.edit("UPDATE leases SET expires_at = '-infinity'")


async def test_an_empty_database_gets_everything_back(
    house: House,
    blobs: LocalBlobStore,
    api_db: Database,
    superuser: psycopg.Connection[Any],
    tables: list[str],
    tenant: UUID,
) -> None:
    ids = await two_batches(house)
    before = await tables_of(house)
    await lose_everything(house, superuser, tables)
    rebuilt = await rebuilder(house, blobs).run()
    assert rebuilt == Rebuilt(
        confirmed=2, restored=2, jobs=6, leaves_only=0, unknown=0, broken=0, run_again=0, kept_apart=0
    )
    assert await tables_of(house) == before
    await require_valid(house, api_db, tenant, ids)
    ((ticket,),) = await house.rows(f"SELECT next_ticket({house.registry.id}::smallint, 0::smallint)")
    assert ticket > 9_000 + MARGIN
    assert await house.rows("SELECT action FROM audit_events ORDER BY seq") == [
        ("registry.rebuild_started",),
        ("registry.rebuilt",),
    ]
    again = await rebuilder(house, blobs).run()
    assert (again.restored, again.jobs, again.run_again) == (0, 0, 0)
    assert await tables_of(house) == before
    await require_agreement(house)


async def test_an_older_database_is_brought_to_where_the_chain_is(
    house: House, blobs: LocalBlobStore, api_db: Database, tenant: UUID
) -> None:
    ids = await two_batches(house)
    before = await tables_of(house)
    await let_go(house)
    ((newer, block),) = await house.rows(
        "SELECT id, block_number FROM batches ORDER BY block_number DESC LIMIT 1"
    )
    for statement in (
        "UPDATE jobs SET state = 'completed', confirmed_at = NULL, batch_id = NULL WHERE ticket = 2",
        """UPDATE jobs SET state = 'processing', confirmed_at = NULL, batch_id = NULL, output_hash = NULL,
                  result_ready_at = NULL WHERE ticket = 301""",
        "DELETE FROM job_events WHERE job_id = (SELECT id FROM jobs WHERE ticket = 9000)",
        "DELETE FROM jobs WHERE ticket = 9000",
    ):
        await house.edit(statement)
    await house.edit("DELETE FROM event_logs WHERE block_number = %s", [block])
    for statement in (
        "DELETE FROM batch_leaves WHERE batch_id = %s",
        "DELETE FROM batch_words WHERE batch_id = %s",
        "DELETE FROM batches WHERE id = %s",
    ):
        await house.edit(statement, [newer])
    # Handed out again after the restore, to jobs that nobody has confirmed.
    for state in ("created", "completed"):
        await house.edit(
            """INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, input, input_hash, metadata, salt,
                                 max_attempts, run_at, output_hash, output_size, output_media_type, created_at,
                                 result_ready_at)
               SELECT %s, tenant_id, registry_id, %s, kind, %s, '{}', input_hash, '{}', sha256('another'), 1, run_at,
                      CASE %s WHEN 'completed' THEN output_hash END, output_size, output_media_type, created_at,
                      CASE %s WHEN 'completed' THEN result_ready_at END
               FROM jobs WHERE ticket = 0""",
            [new_id(), 9_000 if state == "created" else 9_001, state, state, state],
        )
    rebuilt = await rebuilder(house, blobs).run()
    assert (rebuilt.restored, rebuilt.jobs, rebuilt.run_again) == (1, 3, 1)
    assert await tables_of(house) == before
    await require_valid(house, api_db, tenant, ids)
    ((failed, code, ticket),) = await house.rows(
        "SELECT id, error->>'code', ticket FROM jobs WHERE state = 'failed'"
    )
    assert (code, ticket > 9_000 + MARGIN) == ("ticket_spent", True)
    ((again, ticket, salt),) = await house.rows(
        "SELECT rerun_of, ticket, salt FROM jobs WHERE state = 'created'"
    )
    assert (again, ticket > 9_000 + MARGIN) == (failed, True)
    assert await house.rows("SELECT 1 FROM jobs WHERE salt = sha256('another') AND state = 'created'") == []
    assert len(salt) == 32
    assert await house.rows("SELECT ticket FROM jobs WHERE state = 'completed'") == [(9_001,)]
    assert await house.rows("SELECT 1 FROM active_queues") == [(1,)]
    await require_agreement(house)


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.campaign)])
async def test_a_rebuild_that_is_killed_anywhere_is_run_again(
    step: int,
    house: House,
    api_db: Database,
    superuser: psycopg.Connection[Any],
    tables: list[str],
    tenant: UUID,
    urls: Any,
    tmp_path: Path,
) -> None:
    ids = await two_batches(house)
    before = await tables_of(house)
    await lose_everything(house, superuser, tables)
    arguments = [urls.owner, str(tmp_path / "blobs"), house.rpc.address, str(house.registry.chain_id)]
    command = [sys.executable, str(Path(__file__).with_name("dying_rebuild.py")), *arguments]
    with subprocess.Popen(
        [*command, house.registry.address.hex()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        answers = []
        for number in range(1, 100, step):
            child.stdin.write(f"{number}\n")
            child.stdin.flush()
            while not (line := child.stdout.readline()).startswith("answer: "):
                assert line
            answers.append(line.split()[1])
            if answers[-1] != "killed":
                break
        child.stdin.close()
    assert set(answers[:-1]) == {"killed"}
    assert (answers[-1], len(answers) > 20 / step) == ("done", True)
    assert await tables_of(house) == before
    await require_valid(house, api_db, tenant, ids)
    await require_agreement(house)


async def test_an_operator_rebuilds_by_one_command(
    tmp_path: Path,
    house: House,
    superuser: psycopg.Connection[Any],
    tables: list[str],
    urls: Any,
) -> None:
    await two_batches(house)
    before = await tables_of(house)
    await lose_everything(house, superuser, tables)
    environment = {
        "JOBSEAL_OWNER_DATABASE_URL": urls.owner,
        "JOBSEAL_REGISTRY_CHAIN_ID": str(house.registry.chain_id),
        "JOBSEAL_REGISTRY_ADDRESS": f"0x{house.registry.address.hex()}",
        "JOBSEAL_CHAIN_RPC_URLS": house.rpc.address,
        "JOBSEAL_BLOBS_FOLDER": str(tmp_path / "blobs"),
    }

    async def rebuild(key: bytes) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "relayer.cli.main", "admin", "rebuild"]
        given = environment | {"JOBSEAL_BATCHER_MANIFEST_KEY": key.hex()}
        return await asyncio.to_thread(
            subprocess.run, command, env=given, capture_output=True, text=True, check=False
        )

    broken = await rebuild(bytes(32))
    assert broken.returncode == 1, broken.stderr
    assert re.search(r"^broken +2$", broken.stdout, re.MULTILINE)
    done = await rebuild(KEY)
    assert done.returncode == 0, done.stderr
    assert dict(line.split() for line in done.stdout.splitlines()) == {
        "confirmed": "2",
        "restored": "2",
        "jobs": "6",
        "leaves_only": "0",
        "unknown": "0",
        "broken": "0",
        "run_again": "0",
        "kept_apart": "0",
    }
    assert "start `jobseal relayer`" in done.stderr
    assert await tables_of(house) == before
    async with house.db.transaction() as conn:
        await leases.acquire(conn, "sender", "relayer-7", timedelta(minutes=1))
    refused = await rebuild(KEY)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the loop 'sender' is led by relayer-7" in refused.stderr


async def test_it_refuses_to_run_beside_a_sender(house: House, blobs: LocalBlobStore) -> None:
    async with house.db.transaction() as conn:
        await leases.acquire(conn, "sender", "relayer-7", timedelta(minutes=1))
    with pytest.raises(RebuildRefusedError, match="the loop 'sender' is led by relayer-7"):
        await rebuilder(house, blobs).run()
    assert await house.rows("SELECT 1 FROM audit_events") == []


async def test_what_has_no_manifest_or_a_broken_one_is_counted_and_left(
    house: House, blobs: LocalBlobStore, superuser: psycopg.Connection[Any], tables: list[str]
) -> None:
    await two_batches(house)
    await house.confirm([Word(77, 1, b"\x01" * 32)])
    await house.rpc.call("anvil_mine", ["0x3"])
    (root,) = (await house.rows("SELECT root FROM batches ORDER BY sealed_at LIMIT 1"))[0]
    data = await blobs.get_named(SPACE, root.hex())
    assert data is not None
    await blobs.put_named(SPACE, root.hex(), data[:-1] + bytes([data[-1] ^ 1]))
    await lose_everything(house, superuser, tables)
    rebuilt = await rebuilder(house, blobs).run()
    assert (rebuilt.confirmed, rebuilt.restored, rebuilt.unknown, rebuilt.broken) == (3, 1, 2, 1)
    assert await house.rows("SELECT count(*) FROM jobs") == [(3,)]


async def test_outputs_in_the_blob_store_are_their_tenants_again(
    house: House,
    blobs: LocalBlobStore,
    superuser: psycopg.Connection[Any],
    tables: list[str],
    tenant: UUID,
    insert_finished: InsertFinished,
    make_batcher: MakeBatcher,
    epoch: int,
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * (SMALL_BYTES + 1)

    stored = await blobs.put(chunks(), 1 << 20)
    ids = await insert_finished([0])
    await house.edit("UPDATE jobs SET output_hash = %s, output_size = %s", [stored.hash, stored.size])
    assert await make_batcher(max_jobs=1).run_pass(epoch) == 1
    await house.confirm()
    await house.index()
    await lose_everything(house, superuser, tables)
    await rebuilder(house, blobs).run()
    assert await house.rows("SELECT tenant_id, hash FROM blob_owners") == [(tenant, stored.hash)]
    assert await house.rows("SELECT id FROM jobs") == [(ids[0],)]
