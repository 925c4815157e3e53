"""`python -m bench.batches.seal`: how long sealing a large batch takes, on a durable PostgreSQL of its own.

One process a size, so that each has a peak of memory of its own.
"""

import argparse
import asyncio
import multiprocessing
import resource
import sys
import tempfile
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from pydantic import SecretBytes, SecretStr

from bench.batches import repository
from bench.engine.servers import make_database
from relayer.batches.batcher import NAME, Batcher
from relayer.local.postgres import EmbeddedPostgres
from relayer.model.clock import utc_now
from relayer.model.ids import new_id
from relayer.settings import BatcherSettings, DatabaseSettings
from relayer.store import leases, registries
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database

_SIZES = (4_096, 65_536, 131_072)
_TICK_S = 0.01


def main() -> None:
    """Print a line a size."""
    parser = argparse.ArgumentParser(prog="python -m bench.batches.seal", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=_SIZES, help="jobs of a batch")
    _say(
        "| jobs | sealed in, s | jobs a second | event loop held for at most, ms | peak memory, MiB | manifest, MiB |"
    )
    _say("|---|---|---|---|---|---|")
    spawn = multiprocessing.get_context("spawn")
    for size in parser.parse_args().sizes:
        with spawn.Pool(1) as pool:
            _say(pool.apply(_measure, [size]))


def _measure(size: int) -> str:
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "postgres") as postgres:
        return asyncio.run(_seal(postgres, Path(folder) / "blobs", size))


async def _seal(postgres: EmbeddedPostgres, folder: Path, size: int) -> str:
    urls = make_database(postgres)
    tenant = new_id()
    async with (
        Database(DatabaseSettings(url=SecretStr(urls.owner))) as owner,
        Database(DatabaseSettings(url=SecretStr(urls.relayer))) as db,
    ):
        async with owner.transaction() as conn:
            registry = await registries.register(conn, 31337, bytes(20), 0)
            await repository.add_tenant(conn, tenant)
            await repository.fill(conn, tenant, registry.id, size)
            await repository.analyze(conn)
        async with db.transaction() as conn:
            epoch = await leases.acquire(conn, NAME, "bench", timedelta(hours=1))
        assert epoch is not None
        settings = BatcherSettings(max_jobs=size, manifest_key=SecretBytes(bytes(32)))
        batcher = Batcher(db, LocalBlobStore(folder), registry, settings, utc_now)
        gaps: list[float] = []
        watching = asyncio.create_task(_watch(gaps))
        await asyncio.sleep(_TICK_S)
        started = time.perf_counter()
        sealed = await batcher.run_pass(epoch)
        seconds = time.perf_counter() - started
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        assert sealed == size
    manifest = sum(path.stat().st_size for path in (folder / "manifests").iterdir())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"| {size:,} | {seconds:.2f} | {size / seconds:,.0f} | {max(gaps) * 1000:,.0f} | {peak:,.0f} "
        f"| {manifest / 2**20:.1f} |"
    )


async def _watch(gaps: list[float]) -> None:
    """Note for how long others of this event loop had to wait."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(_TICK_S)
        gaps.append(time.perf_counter() - before - _TICK_S)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
