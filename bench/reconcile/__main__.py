"""`python -m bench.reconcile [JOBS …]`: shallow and full runs over so many confirmed jobs, on a real node and database.

Batches of 4,096 jobs in 16 full words are confirmed on an anvil node and read by the real indexer; the rows of their
jobs are written at once. Then each mode runs, and must find nothing.
"""

import asyncio
import hashlib
import logging
import resource
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from relayer.batches import repository
from relayer.batches.handlers import on_final_event
from relayer.batches.reconciler import Mode, Reconciler
from relayer.chain.indexer import Indexer
from relayer.chain.providers import Providers
from relayer.chain.registry import RegistryClient
from relayer.chain.rpc import JsonRpc
from relayer.local import deploy
from relayer.local.anvil import Anvil
from relayer.local.postgres import EmbeddedPostgres
from relayer.model.clock import utc_now
from relayer.model.ids import new_id
from relayer.seal.tree import BatchTree, Word
from relayer.settings import DatabaseSettings
from relayer.store import leases, registries, roles
from relayer.store.database import Database
from relayer.store.migrate import migrate
from relayer.store.registries import RegistryRow
from relayer.telemetry.metrics import Differences

CONFIRMER = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"
WORDS = 16
TICKETS = 256
FULL = (1 << TICKETS) - 1

# The batches are chosen first: what this statement inserts must not be looked through again for every row.
_JOBS = """
WITH unfilled AS MATERIALIZED (
    SELECT w.batch_id, w.index, w.root FROM batch_words w
    WHERE NOT EXISTS (SELECT FROM jobs j WHERE j.batch_id = w.batch_id)
)
INSERT INTO jobs (id, tenant_id, registry_id, ticket, kind, state, state_version, input, input_hash, metadata, salt,
                  max_attempts, run_at, output_hash, output_size, output_media_type, batch_id, created_at,
                  result_ready_at, confirmed_at)
SELECT gen_random_uuid(), %(tenant)s, %(registry)s, w.index * 256 + bit, 'digest', 'confirmed', 5, '{}', w.root, '{}',
       w.root, 1, now(), w.root, 0, 'text/plain', w.batch_id, now(), now(), now()
FROM unfilled w CROSS JOIN generate_series(0, 255) AS bit
"""


async def confirm(db: Database, rpc: JsonRpc, registry: RegistryRow, first: int, count: int) -> None:
    """Seal and confirm so many batches, their words from number `first` on."""
    for number in range(count):
        start = first + number * WORDS
        words = [Word(start + n, FULL, hashlib.sha256(b"%d" % (start + n)).digest()) for n in range(WORDS)]
        async with db.transaction() as conn:
            batch_id = await repository.insert_batch(
                conn,
                registry_id=registry.id,
                lane=0,
                root=BatchTree(words).root,
                words=words,
                leaves={start * TICKETS: bytes(32)},
                at=utc_now(),
            )
            await conn.execute(
                "UPDATE batches SET leaf_count = %s WHERE id = %s", [WORDS * TICKETS, batch_id]
            )
        call = {
            "from": CONFIRMER,
            "to": f"0x{registry.address.hex()}",
            "data": f"0x{RegistryClient.encode_confirm_batch(words).hex()}",
            "gas": hex(1 << 23),
        }
        await rpc.call("eth_sendTransaction", [call])
        await rpc.call("anvil_mine")


async def measure(
    db: Database, owner: Database, rpc: JsonRpc, registry: RegistryRow, totals: list[int]
) -> None:
    """Grow to each number of jobs, and time both modes there."""
    providers = Providers([rpc], registry.chain_id, clock=utc_now)
    follow: dict[str, Any] = {"chain_id": registry.chain_id, "address": registry.address, "clock": utc_now}
    indexer = Indexer(db, providers, first_block=registry.first_block, handler=on_final_event, **follow)
    reconciler = Reconciler(
        db,
        providers,
        registry,
        handler=on_final_event,
        worst_case=1,
        metrics=Differences(CollectorRegistry()),
        clock=utc_now,
    )
    tenant = new_id()
    async with owner.transaction() as conn:
        await conn.execute("INSERT INTO tenants (id, name, created_at) VALUES (%s, 'bench', now())", [tenant])
    async with db.transaction() as conn:
        epoch = await leases.acquire(conn, "indexer", "bench", timedelta(hours=3))
    assert epoch is not None
    done = 0
    for total in totals:
        batches = total // (WORDS * TICKETS)
        await confirm(db, rpc, registry, done * WORDS, batches - done)
        done = batches
        await rpc.call("anvil_mine", ["0x3"])
        while await indexer.run_pass(epoch):
            pass
        async with owner.transaction() as conn:
            await conn.execute(_JOBS, {"tenant": tenant, "registry": registry.id})
        async with owner.statement() as conn:
            await conn.execute("VACUUM ANALYZE")
        for mode in Mode:
            started = time.perf_counter()
            report = await reconciler.run(mode)
            seconds = time.perf_counter() - started
            assert report.found == [], report.found[:3]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(  # noqa: T201
                f"{done * WORDS * TICKETS:>9,} jobs  {mode:<7}  {report.run.batches:>5} batches  "
                f"{report.run.words:>6} words  {report.run.events:>5} events  {seconds:6.2f} s  peak {peak:.0f} MiB",
                flush=True,
            )


async def main(totals: list[int]) -> None:
    """Start the servers, and measure."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        server = EmbeddedPostgres(home / "postgres", durable=False)
        server.start()
        try:
            with Anvil(home / "chain", mining="auto", persist=False) as anvil:
                passwords = roles.Passwords("o", "a", "r", "d")
                roles.prepare_database(server.admin_dsn, "jobseal", passwords)
                address = server.admin_dsn.rpartition("@")[2].partition("/")[0]
                url = f"postgresql://{{}}:{{}}@{address}/jobseal"
                owner_url = url.format(roles.OWNER, "o")
                migrate(owner_url)
                deployed = deploy.deploy_registry(anvil.rpc_url, [CONFIRMER], home / "broadcast")
                async with (
                    Database(DatabaseSettings(url=SecretStr(owner_url))) as owner,
                    Database(DatabaseSettings(url=SecretStr(url.format(roles.RELAYER, "r")))) as db,
                    JsonRpc(anvil.rpc_url, timedelta(seconds=60)) as rpc,
                ):
                    await rpc.call("evm_setAutomine", [False])
                    async with owner.transaction() as conn:
                        registry = await registries.register(
                            conn, anvil.chain_id, deployed.address, deployed.first_block
                        )
                    await measure(db, owner, rpc, registry, totals)
        finally:
            server.delete()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    asyncio.run(main([int(one) for one in sys.argv[1:]] or [100_000, 1_000_000]))
