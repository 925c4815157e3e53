import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relayer.local.anvil import Anvil, Mining
from relayer.local.postgres import EmbeddedPostgres
from relayer.local.process import ServerError

ALICE, BOB = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def send(node: Anvil) -> str:
    return str(node._rpc("eth_sendTransaction", {"from": ALICE, "to": BOB, "value": "0x1"}))


def block_of(node: Anvil, transaction: str) -> int | None:
    receipt = node._rpc("eth_getTransactionReceipt", transaction)
    return int(receipt["blockNumber"], 16) if receipt else None


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def finalized(node: Anvil) -> int:
    return int(node._rpc("eth_getBlockByNumber", "finalized", False)["number"], 16)


def kill(node: Anvil) -> None:
    assert node._process
    assert node.pid
    os.kill(node.pid, signal.SIGKILL)
    assert node._process.wait(10) == -signal.SIGKILL


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with Anvil(tmp_path_factory.mktemp("home")) as node:
        yield node


def test_goes_on_after_a_stop(chain: Anvil) -> None:
    sent = send(chain)
    wait_until(lambda: block_of(chain, sent) is not None)
    block = block_of(chain, sent)
    genesis = chain._rpc("eth_getBlockByNumber", "0x0", False)["hash"]
    chain.stop()
    assert not chain.alive
    chain.start()
    assert block_of(chain, sent) == block
    assert chain._rpc("eth_getBlockByNumber", "0x0", False)["hash"] == genesis
    # What verifiers read by works at once.
    assert int(chain._rpc("eth_getTransactionCount", ALICE, "finalized"), 16) == 1


def test_loses_nothing_final_to_a_kill(chain: Anvil) -> None:
    """Killed while it writes, with a state so large that it is nearly always torn."""
    for account in range(80):
        chain._rpc("anvil_setCode", f"0x{account + 4096:040x}", "0x" + f"{account:02x}" * 24_000)
    sent = send(chain)
    wait_until(lambda: (block_of(chain, sent) or finalized(chain) + 1) <= finalized(chain))
    block = block_of(chain, sent)
    assert chain._states
    dump = chain._states._dump
    # Of the dump that is written by now, however long it takes, only the beginning of the next one proves that it is whole.
    wait_until(dump.exists)
    wait_until(lambda: not dump.exists())
    wait_until(dump.exists)
    kill(chain)
    chain.start()
    assert block_of(chain, sent) == block
    assert int(chain._rpc("eth_getTransactionCount", ALICE, "finalized"), 16) == 2


def test_a_second_node_on_the_same_chain_is_refused(chain: Anvil, tmp_path: Path) -> None:
    with pytest.raises(
        ServerError, match=r"^anvil cannot start: another one runs on .*/anvil; stop it first$"
    ):
        Anvil(chain._folder.parent).start()
    assert chain._rpc("eth_chainId") == "0x7a69"
    with pytest.raises(ServerError, match=rf"^anvil cannot start: 127\.0\.0\.1:{chain.port} is in use"):
        Anvil(tmp_path, chain.port).start()
    assert chain.alive


@pytest.mark.parametrize(
    ("dump", "state", "previous", "kept"),
    [
        (b'{"n":3}', b'{"n":2}', b'{"n":1}', b'{"n":3}'),
        (b'{"n"', b'{"n":2}', b'{"n":1}', b'{"n":2}'),
        (b"", b'{"n":2', b'{"n":1}', b'{"n":1}'),
        (None, b'{"n":', b'{"n":1}', b'{"n":1}'),
        (b"{", None, b'{"n":1}', b'{"n":1}'),
        (None, None, b'{"n":1}', b'{"n":1}'),
        (b'{"n":1', None, None, None),
        (None, b'{"n":1', None, None),
    ],
)
def test_settles_on_the_newest_whole_state(
    tmp_path: Path, dump: bytes | None, state: bytes | None, previous: bytes | None, kept: bytes | None
) -> None:
    folder = tmp_path / "anvil"
    folder.mkdir()
    for name, content in (("dump.json", dump), ("state.json", state), ("previous.json", previous)):
        if content is not None:
            (folder / name).write_bytes(content)
    states = Anvil(tmp_path)._states
    assert states
    states.open()
    states.close()
    left = folder / "state.json"
    assert (left.read_bytes() if left.exists() else None) == kept
    assert not (folder / "dump.json").exists()


def test_does_not_begin_a_new_chain_over_a_damaged_one(tmp_path: Path) -> None:
    folder = tmp_path / "anvil"
    folder.mkdir()
    for name in ("state.json", "previous.json"):
        (folder / name).write_text('{"block":')
    node = Anvil(tmp_path)
    for _ in range(2):
        with pytest.raises(
            ServerError, match=r"^anvil cannot go on: no whole state in .* begin a new chain$"
        ):
            node.start()
    assert (folder / "previous.json").exists()


@pytest.mark.parametrize(("mining", "blocks"), [("auto", 1), ("manual", 0)])
def test_makes_blocks_as_asked_and_keeps_nothing(tmp_path: Path, mining: Mining, blocks: int) -> None:
    node = Anvil(tmp_path, mining=mining, chain_id=8453, persist=False)
    for _ in range(2):
        with node:
            assert node._rpc("eth_chainId") == hex(8453)
            sent = send(node)
            wait_until(lambda: node._height() == blocks)
            assert block_of(node, sent) == (blocks or None)
            node._rpc("anvil_mine", "0x5")
            assert block_of(node, sent) == 1
            assert finalized(node) == blocks + 5 - 2
    assert not list((tmp_path / "anvil").glob("*.json"))
    # The banner would print the private keys, public as they are.
    assert (tmp_path / "logs" / "anvil.log").read_text() == ""


PLATFORM = """
import sys, time
from pathlib import Path
import psycopg
from relayer.local.anvil import Anvil
from relayer.local.postgres import EmbeddedPostgres
from relayer.local.valkey import EmbeddedValkey
home = Path(sys.argv[1])
servers = [EmbeddedPostgres(home, durable=False), EmbeddedValkey(home), Anvil(home)]
for server in servers:
    server.start()
session = psycopg.connect(servers[0].admin_dsn)
print(session.info.backend_pid, *(server.pid for server in servers), flush=True)
time.sleep(600)
"""


def test_no_server_outlives_a_killed_parent(
    tmp_path: Path, parent: Callable[..., Any], dies: Callable[[int], None]
) -> None:
    """And every one of them starts again on what it left."""
    pids: list[set[int]] = []
    try:
        for _ in range(2):
            holder = parent(PLATFORM, str(tmp_path))
            pids.append({int(pid) for pid in holder.say().split()})
            holder.kill()
            for pid in pids[-1]:
                dies(pid)
    finally:
        EmbeddedPostgres(tmp_path).delete()
    assert len(pids[0] | pids[1]) == 8
