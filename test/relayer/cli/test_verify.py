"""`jobseal verify` without a chain: its exit statuses, and one clear line for whatever it is given."""

import socket
from pathlib import Path

import pytest
import typer
from eth_utils.crypto import keccak
from typer.testing import CliRunner, Result

from relayer.cli.verify import verify
from relayer.seal.commitment import Domain, JobConfirmation, leaf
from relayer.seal.receipt import Receipt
from relayer.seal.tree import seal_batch

REGISTRY = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
DOMAIN = Domain(31337, bytes.fromhex(REGISTRY[2:]))
JOB = JobConfirmation(7, bytes(16), keccak(b"input"), keccak(b"output"), 1_700_000_000, keccak(b"salt"))
SEAL = seal_batch({JOB.ticket: leaf(DOMAIN, JOB)})
RECEIPT = Receipt(31337, DOMAIN.registry, SEAL.root, bytes(32), 7, bytes(32), JOB, SEAL.proof(JOB.ticket))
PINS = ["--registry", REGISTRY, "--chain-id", "31337"]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "receipt.json"
    path.write_bytes(RECEIPT.to_json())
    return str(path)


def run(*arguments: str, stdin: bytes | None = None, env: dict[str, str] | None = None) -> Result:
    app = typer.Typer()
    app.command()(verify)
    result = CliRunner().invoke(app, arguments, input=stdin, env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def line(result: Result) -> str:
    """The one line that the command printed."""
    assert result.output.count("\n") == 1
    return result.output


@pytest.mark.parametrize("arguments", [[], PINS])
def test_without_a_chain_it_is_consistent_at_best(file: str, arguments: list[str]) -> None:
    result = run(file, *arguments)
    assert result.exit_code == 3
    assert line(result).startswith("consistent (not_on_chain)")


def test_it_reads_standard_input() -> None:
    assert run("-", stdin=RECEIPT.to_json()).exit_code == 3
    assert run("-", stdin=b"").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--chain-id", "1"], "chain_id_mismatch"),
        (["--chain-id", "0x1"], "chain_id_mismatch"),
        (["--registry", "0x" + "00" * 20], "registry_mismatch"),
    ],
)
def test_another_pin_refuses(file: str, arguments: list[str], code: str) -> None:
    result = run(file, *arguments)
    assert result.exit_code == 1
    assert line(result).startswith(f"refused ({code})")


def test_pins_may_come_from_the_environment(file: str) -> None:
    result = run(file, env={"JOBSEAL_VERIFY_REGISTRY": "0x" + "00" * 20})
    assert (result.exit_code, "registry_mismatch" in line(result)) == (1, True)
    result = run(file, env={"JOBSEAL_VERIFY_CHAIN_ID": "1"})
    assert (result.exit_code, "chain_id_mismatch" in line(result)) == (1, True)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"[]", b"\xff\xfe", b'{"\x1b[31m":1}', b'{"\\u001b[31m":1}', b"[" * 2000, b" " * 100_000],
)
def test_what_is_no_receipt_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "receipt.json"
    path.write_bytes(content)
    result = run(str(path))
    assert result.exit_code == 1
    assert line(result).startswith("refused (malformed): not a receipt")
    assert result.output.rstrip("\n").isprintable()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        result = run(str(path))
        assert result.exit_code == 2
        assert str(path) in line(result)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--registry", REGISTRY[:-1]],
        ["--registry", REGISTRY.replace("FbDB", "fbDB")],
        ["--chain-id", "0"],
        ["--chain-id", "mainnet"],
        ["--chain-id", "0x1" + "0" * 16],
        ["--rpc", "127.0.0.1:8545"],
        ["--rpc", "ftp://127.0.0.1"],
        ["--rpc", "http://"],
    ],
)
def test_a_malformed_option_is_wrong_usage(file: str, arguments: list[str]) -> None:
    assert run(file, *arguments).exit_code == 2


@pytest.mark.parametrize("spelling", [REGISTRY.lower(), "0x" + REGISTRY[2:].upper(), REGISTRY])
def test_an_address_may_be_spelt_with_or_without_checksum(file: str, spelling: str) -> None:
    assert run(file, "--registry", spelling).exit_code == 3


def test_a_chain_that_does_not_answer_is_named_without_its_key(file: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        result = run(file, *PINS, "--rpc", f"http://user:secret@127.0.0.1:{port}/key-in-path?token=secret")
    assert result.exit_code == 4
    assert line(result).startswith(f"unchecked (rpc_unreachable): no answer from http://127.0.0.1:{port}: ")
    assert "secret" not in result.output
    assert "key-in-path" not in result.output


def test_a_false_receipt_is_refused_even_where_the_chain_does_not_answer(file: str) -> None:
    data = Path(file).read_bytes().replace(b'"completedAt":"0x6', b'"completedAt":"0x7')
    result = run("-", *PINS, "--rpc", "http://127.0.0.1:1", stdin=data)
    assert result.exit_code == 1
    assert "root_mismatch" in line(result)
