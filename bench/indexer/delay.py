"""`python -m bench.indexer.delay`: how long after its block an event is in the database, by a real relayer's indexer.

A block comes every second, with one batch or with many; `jobseal relayer --only indexer` polls for it, or is rung for by
WebSocket. `.build/bench/delay.{json,txt}`.
"""

import argparse
import asyncio
import hashlib
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

from eth_account import Account
from pydantic import SecretStr

from bench.engine.contender import ROOT
from bench.indexer import repository
from relayer.chain.registry import RegistryClient
from relayer.chain.rpc import JsonRpc
from relayer.local import deploy
from relayer.local.anvil import Anvil
from relayer.local.postgres import EmbeddedPostgres
from relayer.model.errors import JobsealError
from relayer.seal.tree import Word
from relayer.settings import DatabaseSettings
from relayer.store import registries, roles
from relayer.store.database import Database
from relayer.store.migrate import migrate
from relayer.store.registries import RegistryRow

_OUTPUT = ROOT / ".build/bench"
_WORDS = 16
_BLOCK_EVERY_S = 1.0
_LOOK_EVERY_S = 0.005
_WITHIN_S = 60.0
_TIMEOUT = timedelta(minutes=1)
_NUMBERS = count(1)


@dataclass(frozen=True)
class Delay:
    """How long events took, in seconds; `batches` of 16 words came with every block."""

    woken: str
    batches: int
    blocks: int
    p50: float
    p99: float
    longest: float


@dataclass(frozen=True)
class _Place:
    """A node with a registry, and the database beside it."""

    home: Path
    rpc: JsonRpc
    db: Database
    db_url: str
    registry: RegistryRow


@asynccontextmanager
async def _place(home: Path) -> AsyncIterator[_Place]:
    server = EmbeddedPostgres(home / "postgres", durable=True)
    server.start()
    try:
        with Anvil(home / "chain", mining="auto", persist=False) as anvil:
            roles.prepare_database(server.admin_dsn, "jobseal", roles.Passwords("o", "a", "r", "d"))
            address = server.admin_dsn.rpartition("@")[2].partition("/")[0]
            url = f"postgresql://{{}}:{{}}@{address}/jobseal"
            migrate(url.format(roles.OWNER, "o"))
            made = deploy.deploy_registry(anvil.rpc_url, [deploy.ADMIN], home / "broadcast")
            async with (
                JsonRpc(anvil.rpc_url, _TIMEOUT) as rpc,
                Database(DatabaseSettings(url=SecretStr(url.format(roles.OWNER, "o")))) as owner,
                Database(DatabaseSettings(url=SecretStr(url.format(roles.RELAYER, "r")))) as db,
            ):
                await rpc.call("evm_setAutomine", [False])
                async with owner.transaction() as conn:
                    row = await registries.register(conn, anvil.chain_id, made.address, made.first_block)
                yield _Place(home, rpc, db, url.format(roles.RELAYER, "r"), row)
    finally:
        server.delete()


@asynccontextmanager
async def _indexer(place: _Place, *, rung: bool) -> AsyncIterator[None]:
    """A relayer's indexer as a process of its own."""
    keystore, password = place.home / "key.json", place.home / "password"
    keystore.write_text(json.dumps(Account.encrypt(Account.create().key, "open", kdf="pbkdf2", iterations=1)))
    password.write_text("open\n")
    environment = {
        **os.environ,
        "JOBSEAL_DATABASE_URL": place.db_url,
        "JOBSEAL_REGISTRY_CHAIN_ID": str(place.registry.chain_id),
        "JOBSEAL_REGISTRY_ADDRESS": f"0x{place.registry.address.hex()}",
        "JOBSEAL_CHAIN_RPC_URLS": place.rpc.address,
        "JOBSEAL_CHAIN_KEYSTORE": str(keystore),
        "JOBSEAL_CHAIN_KEYSTORE_PASSWORD_FILE": str(password),
        "JOBSEAL_BLOBS_FOLDER": str(place.home / "blobs"),
        "JOBSEAL_BATCHER_MANIFEST_KEY": bytes(32).hex(),
    }
    if rung:
        environment["JOBSEAL_CHAIN_WS_URLS"] = place.rpc.address.replace("http", "ws", 1)
    with (place.home / "relayer.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "relayer.cli.main", "relayer", "--only", "indexer"),
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def _block(place: _Place, batches: int) -> tuple[int, float]:
    """Make a block with so many batches; give its height, and when it was there."""
    for _ in range(batches):
        first = next(_NUMBERS) * _WORDS
        words = [
            Word(index, 1, hashlib.sha256(b"%d" % index).digest()) for index in range(first, first + _WORDS)
        ]
        call = {
            "from": deploy.ADMIN,
            "to": f"0x{place.registry.address.hex()}",
            "data": f"0x{RegistryClient.encode_confirm_batch(words).hex()}",
            "gas": hex(1 << 20),
        }
        await place.rpc.call("eth_sendTransaction", [call])
    await place.rpc.call("anvil_mine")
    came = time.perf_counter()
    block = await place.rpc.call("eth_getBlockByNumber", ["latest", False])
    if len(block["transactions"]) != batches:
        raise RuntimeError("the node left transactions out of the block")
    return int(block["number"], 16), came


async def _seen(place: _Place, height: int, batches: int) -> float:
    """Wait until all events of a block are in the database; give when they were."""
    async with asyncio.timeout(_WITHIN_S):
        while await repository.events_of(place.db, height) < batches:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(_LOOK_EVERY_S)
    return time.perf_counter()


async def _measure(place: _Place, *, rung: bool, batches: int, blocks: int) -> Delay:
    delays: list[float] = []
    async with _indexer(place, rung=rung):
        # The first shows that it runs, and is not counted.
        for number in range(blocks + 1):
            height, came = await _block(place, batches)
            delay = await _seen(place, height, batches) - came
            if number:
                delays.append(delay)
            await asyncio.sleep(max(0.0, came + _BLOCK_EVERY_S - time.perf_counter()))
    delays.sort()
    return Delay(
        "WebSocket" if rung else "polling",
        batches,
        blocks,
        round(statistics.median(delays), 3),
        round(delays[math.ceil(0.99 * len(delays)) - 1], 3),
        round(delays[-1], 3),
    )


async def measure(blocks: int, batches: Sequence[int]) -> list[Delay]:
    """Measure both ways of being woken, with few and with many batches a block."""
    with tempfile.TemporaryDirectory() as folder:
        async with _place(Path(folder)) as place:
            return [
                await _measure(place, rung=rung, batches=number, blocks=blocks)
                for number in batches
                for rung in (False, True)
            ]


def _table(results: Sequence[Delay]) -> str:
    lines = [
        "| woken by | batches a block | blocks | p50, s | p99, s | longest, s |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.woken} | {one.batches} | {one.blocks} | {one.p50:.3f} | {one.p99:.3f} | {one.longest:.3f} |"
        for one in results
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure; the exit status says whether that worked, not how long anything took."""
    parser = argparse.ArgumentParser(prog="python -m bench.indexer.delay", description=main.__doc__)
    parser.add_argument("--blocks", type=int, default=100)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 20])
    chosen = parser.parse_args()
    if shutil.which("forge") is None:
        parser.error("run it by `make bench-delay`")
    _OUTPUT.mkdir(parents=True, exist_ok=True)
    results = asyncio.run(measure(chosen.blocks, chosen.batches))
    (_OUTPUT / "delay.json").write_text(json.dumps([asdict(one) for one in results], indent=2) + "\n")
    (_OUTPUT / "delay.txt").write_text(f"{_table(results)}\n")
    sys.stdout.write(f"{_table(results)}\n")


if __name__ == "__main__":
    try:
        main()
    except JobsealError as error:
        sys.exit(f"error: {error}")
