# noqa: INP001 - a script, not part of a package
"""Writes where the registry's gas goes: the recorded figures, and two confirmations taken apart on a real node.

``tools/gas.py`` writes docs/reference/gas.md; ``tools/gas.py --check`` fails where it differs from what it would write.
"""

import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import snapshot

from relayer.chain.registry import RegistryClient
from relayer.local.anvil import Anvil
from relayer.local.deploy import ADMIN, deploy_registry
from relayer.seal.tree import Word

FIGURES = snapshot.ROOT / "test/contracts/gas/registry.json"
TARGET = snapshot.ROOT / "docs/reference/gas.md"

_DENSE = 2**256 - 1
_FIRST = 0x0101_0101
_WORD_ROOT = b"\x5a" * 32
_ZERO_BYTE_GAS, _BYTE_GAS, _TRANSACTION_GAS = 4, 16, 21_000
# In the order in which a confirmation reads them; every later read is one of a word's bits.
_FIRST_READS = ("proxy: its implementation", "pause flag", "confirmer's role")
_HASHING, _MEMORY = "hashing of the trees", "everything else: ABI, loops, bit counts"


@dataclass(frozen=True)
class Step:
    """One executed instruction: its name, the gas it took, its depth of calls."""

    op: str
    gas: int
    depth: int


def render() -> str:
    """The whole page."""
    figures: dict[str, str] = json.loads(FIGURES.read_text())
    with tempfile.TemporaryDirectory() as folder, Anvil(Path(folder), mining="auto", persist=False) as node:
        registry = deploy_registry(node.rpc_url, [ADMIN], Path(folder) / "broadcast").address
        with httpx2.Client(base_url=node.rpc_url, timeout=60) as client:
            small = confirmation(client, registry, words(_FIRST, 1))
            large = confirmation(client, registry, words(_FIRST + 1, 16))
    return _PAGE.format(
        figures="\n".join(figure_rows(figures)),
        parts="\n".join(part_rows(small, large)),
    )


def figure_rows(figures: dict[str, str]) -> Iterator[str]:
    """A row for each recorded figure, by the number of jobs it is about."""
    for name in sorted(figures, key=lambda one: (one.split()[0], _jobs(one), int(figures[one]))):
        gas, jobs = int(figures[name]), _jobs(name)
        each = f"{gas / jobs:,.1f}" if jobs else ""
        yield f"| {name} | {gas:,} | {each} |"


def part_rows(small: Counter[str], large: Counter[str]) -> Iterator[str]:
    """A row for each part of a confirmation, the largest first, and their sum."""
    for part, gas in small.most_common():
        yield f"| {part} | {gas:,} | {large[part]:,} |"
    yield f"| **together** | **{small.total():,}** | **{large.total():,}** |"


def words(first: int, count: int) -> list[Word]:
    """`count` dense words from the index `first`, without zero bytes in their roots."""
    return [Word(first + at, _DENSE, _WORD_ROOT) for at in range(count)]


def confirmation(client: httpx2.Client, registry: bytes, batch: Sequence[Word]) -> Counter[str]:
    """What a transaction that confirms a batch takes, in gas by part."""
    data = RegistryClient.encode_confirm_batch(batch)
    transaction = {"from": ADMIN, "to": f"0x{registry.hex()}", "data": f"0x{data.hex()}"}
    trace = rpc(client, "debug_traceCall", transaction, "latest", {"disableStorage": True})
    parts = take_apart([Step(one["op"], one["gasCost"], one["depth"]) for one in trace["structLogs"]])
    parts["transaction"] = _TRANSACTION_GAS
    parts["calldata"] = sum(_BYTE_GAS if byte else _ZERO_BYTE_GAS for byte in data)
    # The trace counts in a call what it hands on; what is left of the whole is what the call itself took.
    parts["proxy: the call"] = trace["gas"] - parts.total()
    return parts


def take_apart(steps: Sequence[Step]) -> Counter[str]:
    """The gas of the instructions by part, without that of the proxy's call."""
    parts: Counter[str] = Counter()
    reads = iter(_FIRST_READS)
    writes = sum(step.op == "SSTORE" for step in steps)
    for step in steps:
        if step.op == "SLOAD":
            parts[next(reads, "tickets: bits")] += step.gas
        elif step.op == "SSTORE":
            writes -= 1
            parts["tickets: bits" if writes else "root: its slot"] += step.gas
        elif step.op.startswith("LOG"):
            parts["event"] += step.gas
        elif step.op == "KECCAK256":
            parts[_HASHING] += step.gas
        elif step.op != "DELEGATECALL":
            parts[_MEMORY] += step.gas
    return parts


def rpc(client: httpx2.Client, method: str, *params: Any) -> Any:
    """The result of one JSON-RPC call."""
    answer = client.post("/", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).json()
    if "error" in answer:
        raise RuntimeError(f"{method}: {answer['error']}")
    return answer["result"]


def _jobs(name: str) -> int:
    """How many jobs a figure is about; 0 where it says none."""
    found = re.search(r"(\d+) jobs?\b", name)
    return int(found[1]) if found else 0


_PAGE = """\
# Where the gas goes

Generated by `make gas`. Solidity 0.8.30, a million optimizer runs, behind the ERC-1967 proxy, with roles, pause and lanes; 21,000
and calldata included, every slot cold, no zero byte in a root. The figures are recorded by `test/contracts/Gas.t.sol`
and a change of any of them fails `make test`.

| call | gas | a job |
|---|---|---|
{figures}

`verify` and `isConfirmed` are what a contract pays that asks the registry first in its transaction: the call of the cold
proxy included, a transaction of its own not. *Dense* jobs fill neighbouring tickets. *Scattered* ones (256 jobs over so
many words) show what the batcher is there to avoid: a job costs what its share of a word costs. *Touched* words already held
confirmed tickets.

## A confirmation taken apart

Dense batches of 256 and of 4,096 jobs, in fresh words, traced on a node:

| part | 256 jobs, 1 word | 4,096 jobs, 16 words |
|---|---|---|
{parts}

What that says:

* **A job's own cost is its bit**: 22,100 gas a fresh word (2,100 to read it, 20,000 to write it), 86 a job when 256 share
  it. It is the price of "at most once, ever", and no code can lower it.
* **The rest is paid once a batch**: the transaction, the root's slot, the proxy, pause and role. At 256 jobs it is most
  of the whole, at 4,096 little. A registry without the two slots would only move it: a root that is not stored cannot be
  verified against.
* **A lane costs nothing extra where the quorum is 1 by definition**: lane 0 reads no slot; the others read one, 2,100.
* **A signature costs 11,200**: 3,000 to recover the signer, 2,600 to learn whether it is a contract (ERC-1271), 2,100 for
  its role, about 1,600 of calldata, the rest ABI and memory. The first one also brings the quorum's slot.
* **A revocation costs what a confirmation costs**: a second bit of storage, in a word of its own.
* **`verify` reads two slots** behind the proxy: the batch's, and the word of revoked bits.
"""

if __name__ == "__main__":
    sys.exit(snapshot.settle(TARGET, render(), "is out of date: run `make gas` and commit it"))
