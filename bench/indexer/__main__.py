"""`python -m bench.indexer`: reading and decoding both ways by turns; `.build/bench/indexer.{json,txt}`."""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from typing import Any

from eth_abi.abi import encode
from web3 import Web3

from bench.engine.contender import ROOT
from bench.indexer.emitter import EMITTER, emit
from relayer.chain.node import Log, Node
from relayer.chain.registry import BATCH_CONFIRMED_TOPIC, JOBS_REVOKED_TOPIC, RegistryClient
from relayer.chain.rpc import JsonRpc
from relayer.local.anvil import Anvil
from relayer.model.errors import JobsealError

_OUTPUT = ROOT / ".build/bench"
_TIMEOUT = timedelta(minutes=5)


@dataclass(frozen=True)
class Kind:
    """A kind of event to measure: how it is emitted, and how each side decodes it."""

    name: str
    event: str
    topics: tuple[bytes, ...]
    data: bytes
    blocks: int
    logs_a_block: int
    decode: Callable[[Log], Any]


def _small() -> Kind:
    return Kind(
        "JobsRevoked, 1 word",
        "JobsRevoked",
        (JOBS_REVOKED_TOPIC, bytes(12) + b"\x01" * 20, b"\x02" * 32),
        encode(["(uint64,uint256)[]"], [[(7, 1)]]),
        10,
        1_000,
        lambda log: RegistryClient.decode_jobs_revoked(log.topics, log.data),
    )


def _batch(words: int, blocks: int, logs_a_block: int) -> Kind:
    entries = [(index, 2**256 - 1, index.to_bytes(32)) for index in range(1, words + 1)]
    return Kind(
        f"BatchConfirmed, {words} word{'s' * (words > 1)}",
        "BatchConfirmed",
        (BATCH_CONFIRMED_TOPIC, b"\x03" * 32, bytes(12) + b"\x01" * 20, bytes(32)),
        encode(["uint32", "uint8", "(uint64,uint256,bytes32)[]"], [256 * words, 1, entries]),
        blocks,
        logs_a_block,
        lambda log: RegistryClient.decode_batch_confirmed(log.topics, log.data),
    )


KINDS = (_small, lambda: _batch(1, 10, 1_000), lambda: _batch(16, 10, 200))


@dataclass(frozen=True)
class Taken:
    """Seconds by the clock, and seconds of this process's own work, which other work on the machine does not stretch."""

    wall: float
    cpu: float


@contextmanager
def _timed(into: list[Taken]) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    into.append(Taken(time.perf_counter() - wall, time.process_time() - cpu))


async def ours(rpc: JsonRpc, kind: Kind, first: int, last: int, taken: list[Taken]) -> None:
    """Read a range as the indexer does, and decode every log."""
    node = Node(rpc)
    with _timed(taken):
        decoded = [kind.decode(log) for log in (await node.logs(EMITTER, first, last)).logs]
    _require(len(decoded), kind)


def theirs(web3: Web3, kind: Kind, first: int, last: int, taken: list[Taken]) -> None:
    """Read a range and decode every log with web3.py."""
    abi = json.loads(files("relayer.chain").joinpath("abi/job_registry.json").read_bytes())
    event = web3.eth.contract(abi=abi).events[kind.event]()
    address = Web3.to_checksum_address(EMITTER)
    with _timed(taken):
        logs = web3.eth.get_logs({"address": address, "fromBlock": first, "toBlock": last})
        decoded = [event.process_log(log) for log in logs]
    _require(len(decoded), kind)


def _require(count: int, kind: Kind) -> None:
    if count != kind.blocks * kind.logs_a_block:
        raise RuntimeError(f"{count} logs came instead of {kind.blocks * kind.logs_a_block}")


async def measure(url: str, rounds: int) -> list[dict[str, Any]]:
    """Measure every kind, both sides by turns; medians of the rounds."""
    web3 = Web3(Web3.HTTPProvider(url, request_kwargs={"timeout": _TIMEOUT.total_seconds()}))
    results = []
    async with JsonRpc(url, _TIMEOUT) as rpc:
        for make in KINDS:
            kind = make()
            first, last = await emit(
                rpc, kind.topics, kind.data, blocks=kind.blocks, logs_a_block=kind.logs_a_block
            )
            mine: list[Taken] = []
            other: list[Taken] = []
            for _ in range(rounds):
                await ours(rpc, kind, first, last, mine)
                await asyncio.to_thread(theirs, web3, kind, first, last, other)
            results.append(_result(kind, mine, other))
    return results


def _result(kind: Kind, mine: list[Taken], other: list[Taken]) -> dict[str, Any]:
    events = kind.blocks * kind.logs_a_block
    wall, cpu, their_wall, their_cpu = (
        statistics.median(getattr(one, name) for one in taken)
        for taken in (mine, other)
        for name in ("wall", "cpu")
    )
    return {
        "event": kind.name,
        "events": events,
        "ours": round(events / wall),
        "ours_cpu": round(events / cpu),
        "web3": round(events / their_wall),
        "web3_cpu": round(events / their_cpu),
        "ratio": round(their_wall / wall, 1),
        "ratio_cpu": round(their_cpu / cpu, 1),
    }


def _table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| event | events | Jobseal, events/s | a second of its CPU | web3.py, events/s | a second of its CPU | ratio | by CPU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['event']} | {one['events']:,} | {one['ours']:,} | {one['ours_cpu']:,} | {one['web3']:,} | "
        f"{one['web3_cpu']:,} | {one['ratio']} | {one['ratio_cpu']} |"
        for one in results
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure; the exit status says whether that worked, not how fast anything is."""
    parser = argparse.ArgumentParser(prog="python -m bench.indexer", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    if chosen.rounds < 1:
        parser.error("at least one round is needed")
    home = _OUTPUT / "indexer"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    with Anvil(home, mining="auto", persist=False) as anvil:
        results = asyncio.run(measure(anvil.rpc_url, chosen.rounds))
    (_OUTPUT / "indexer.json").write_text(json.dumps(results, indent=2) + "\n")
    (_OUTPUT / "indexer.txt").write_text(f"{_table(results)}\n")
    sys.stdout.write(f"{_table(results)}\n")


if __name__ == "__main__":
    try:
        main()
    except JobsealError as error:
        sys.exit(f"error: {error}")
