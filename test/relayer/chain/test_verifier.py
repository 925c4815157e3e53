"""Receipts against the real registry on a real node, and against nodes that answer wrongly."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from typer.testing import CliRunner

from relayer.chain import verifier
from relayer.chain.verifier import BATCH_CONFIRMED, Rpc, verify_call, verify_on_chain
from relayer.cli.verify import verify
from relayer.seal.commitment import Domain, JobConfirmation, leaf
from relayer.seal.receipt import Receipt, ReceiptError
from relayer.seal.tree import Seal, seal_batch
from relayer.seal.verify import Outcome, Pin

ROOT = Path(__file__).parents[3]
CHAIN_ID = 31337
IS_REVOKED = "0x" + keccak(b"isRevoked(uint64)")[:4].hex()
IMPOSTOR = bytes.fromhex("00000000000000000000000000000000000bad00")
# Emits whatever two topics it is called with; says yes (or what `answer` says) to every other call.
IMPOSTOR_CODE = "3660401460{target:02x}57{answer}5b6020355f355f5fa200"
YES = "60015f5260205ff3"
NO = "5f5f5260205ff3"
NOTHING = "00"
REVERT = "5f5ffd"


def code_of(answer: str) -> str:
    return "0x" + IMPOSTOR_CODE.format(target=7 + len(answer) // 2, answer=answer)


class Chain:
    """A running anvil whose finalized block lies two behind its head, and a deployed registry."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.rpc = Rpc(url)
        self.account, self.revoker = self.rpc.call("eth_accounts")[:2]
        self.registry = self._deploy()
        self.next_word = 0

    @property
    def pin(self) -> Pin:
        return Pin(CHAIN_ID, self.registry)

    def send(self, to: str | None, data: str, sender: str | None = None) -> dict[str, Any]:
        """The receipt of a transaction, whether it succeeded or not."""
        # With a gas limit of its own the node mines it without trying it first.
        transaction = {"from": sender or self.account, "data": data, "gas": hex(12_000_000)} | (
            {"to": to} if to else {}
        )
        digest = self.rpc.call("eth_sendTransaction", transaction)
        for _ in range(500):
            if receipt := self.rpc.call("eth_getTransactionReceipt", digest):
                return dict(receipt)
            time.sleep(0.01)
        raise AssertionError(f"{digest} was not mined")

    def confirm(self, seal: Seal) -> dict[str, Any]:
        words = [(word.index, word.mask, word.root) for word in seal.words]
        call = keccak(b"confirmBatch((uint64,uint256,bytes32)[])")[:4] + encode(
            ["(uint64,uint256,bytes32)[]"], [words]
        )
        return self.send("0x" + self.registry.hex(), "0x" + call.hex())

    def revoke(self, ticket: int) -> None:
        call = keccak(b"revoke((uint64,uint256)[],bytes32)")[:4] + encode(
            ["(uint64,uint256)[]", "bytes32"], [[(ticket >> 8, 1 << (ticket & 255))], b"wrong output"]
        )
        revoked = self.send("0x" + self.registry.hex(), "0x" + call.hex(), self.revoker)
        assert revoked["status"] == "0x1"

    def finalize(self) -> None:
        self.rpc.call("anvil_mine", "0x5")

    def seal(self, registry: bytes | None = None) -> tuple[JobConfirmation, Seal]:
        """Nine jobs in three words that nobody used before, and the first of them."""
        jobs = [
            JobConfirmation(
                ticket=(self.next_word + n // 3) << 8 | 31 * n,
                job_id=keccak(b"job")[:16],
                input_hash=keccak(b"input"),
                output_hash=keccak(b"output"),
                completed_at=1_700_000_000,
                salt=keccak(n.to_bytes(8)),
            )
            for n in range(9)
        ]
        self.next_word += 3
        domain = Domain(CHAIN_ID, registry or self.registry)
        return jobs[0], seal_batch({job.ticket: leaf(domain, job) for job in jobs})

    def receipt(
        self, job: JobConfirmation, seal: Seal, transaction: dict[str, Any], registry: bytes | None = None
    ) -> Receipt:
        return Receipt(
            chain_id=CHAIN_ID,
            registry=registry or self.registry,
            batch_root=seal.root,
            transaction_hash=bytes.fromhex(transaction["transactionHash"][2:]),
            block_number=int(transaction["blockNumber"], 16),
            block_hash=bytes.fromhex(transaction["blockHash"][2:]),
            job=job,
            proof=seal.proof(job.ticket),
        )

    def _deploy(self) -> bytes:
        implementation = self._create("JobRegistry", b"")
        kind = "(address,uint48,address,address,address,address[])"
        one = self.account
        setup = keccak(f"initialize({kind})".encode())[:4] + encode(
            [kind], [(one, 0, one, self.revoker, one, [one])]
        )
        return self._create("ERC1967Proxy", encode(["address", "bytes"], [implementation, setup]))

    def _create(self, name: str, arguments: bytes) -> bytes:
        artifact = json.loads((ROOT / f"out/{name}.sol/{name}.json").read_text())
        created = self.send(None, artifact["bytecode"]["object"] + arguments.hex())
        assert created["status"] == "0x1"
        return bytes.fromhex(created["contractAddress"][2:])


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    anvil = shutil.which("anvil", path=f"{ROOT / '.tools/bin'}{os.pathsep}{os.environ['PATH']}")
    assert anvil, "anvil is missing: run `make setup`"
    command = [anvil, "--port", "0", "--slots-in-an-epoch", "1", "--chain-id", str(CHAIN_ID)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            listening = next(line for line in process.stdout if line.startswith("Listening on "))
            # Its log goes on; nobody reading would in the end make it wait for ever.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            chain = Chain(f"http://{listening.split()[-1]}")
            with chain.rpc:
                yield chain
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def receipt(chain: Chain) -> Receipt:
    job, seal = chain.seal()
    transaction = chain.confirm(seal)
    chain.finalize()
    return chain.receipt(job, seal, transaction)


def test_a_confirmed_job_is_valid_where_pinned(chain: Chain, receipt: Receipt) -> None:
    verdict = verify_on_chain(receipt, chain.rpc, chain.pin)
    assert (verdict.outcome, verdict.code) == (Outcome.VALID, "confirmed")


@pytest.mark.parametrize("siblings", [0, 1, 9])
def test_the_call_is_encoded_as_the_abi_has_it(receipt: Receipt, siblings: int) -> None:
    job = receipt.job
    proof = receipt.proof._replace(batch=tuple(keccak(n.to_bytes(1)) for n in range(siblings)))
    arguments = [
        (job.ticket, job.job_id, job.input_hash, job.output_hash, job.completed_at, job.salt),
        (proof.word, proof.mask, proof.batch),
    ]
    selector = keccak(f"verify({','.join(verifier.VERIFY_ARGUMENTS)})".encode())[:4]
    assert verify_call(replace(receipt, proof=proof)) == selector + encode(
        verifier.VERIFY_ARGUMENTS, arguments
    )


@pytest.mark.parametrize("part", [None, "chain_id", "registry"])
def test_without_a_whole_pin_it_is_consistent_at_best(
    chain: Chain, receipt: Receipt, part: str | None
) -> None:
    pin = Pin(**{part: getattr(chain.pin, part)}) if part else None
    verdict = verify_on_chain(receipt, chain.rpc, pin)
    assert (verdict.outcome, verdict.code) == (Outcome.CONSISTENT, "not_pinned")


def test_every_flipped_bit_is_refused(chain: Chain, receipt: Receipt) -> None:
    data = receipt.to_json()
    asked = set()
    for place in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        try:
            changed = Receipt.from_json(bytes(flipped))
        except ReceiptError:
            continue
        verdict = verify_on_chain(changed, chain.rpc, chain.pin)
        assert verdict.outcome is Outcome.REFUSED, (place, verdict)
        asked.add(verdict.code)
    assert asked >= {
        "root_mismatch",
        "registry_mismatch",
        "chain_id_mismatch",
        "transaction_unknown",
        "block_mismatch",
    }


def test_a_batch_is_refused_until_its_block_is_final(chain: Chain) -> None:
    job, seal = chain.seal()
    receipt = chain.receipt(job, seal, chain.confirm(seal))
    assert verify_on_chain(receipt, chain.rpc, chain.pin).code == "not_final"
    chain.finalize()
    assert verify_on_chain(receipt, chain.rpc, chain.pin).outcome is Outcome.VALID


def test_a_batch_of_one_job_has_a_proof_without_batch_siblings(chain: Chain) -> None:
    job, _ = chain.seal()
    seal = seal_batch({job.ticket: leaf(Domain(CHAIN_ID, chain.registry), job)})
    receipt = chain.receipt(job, seal, chain.confirm(seal))
    chain.finalize()
    assert receipt.proof.batch == ()
    assert verify_on_chain(receipt, chain.rpc, chain.pin).outcome is Outcome.VALID


def test_a_batch_that_was_never_confirmed_is_refused(chain: Chain) -> None:
    job, seal = chain.seal()
    elsewhere = chain.send("0x" + chain.account[2:], "0x")
    chain.finalize()
    assert verify_on_chain(chain.receipt(job, seal, elsewhere), chain.rpc, chain.pin).code == "event_missing"


def test_a_reverted_transaction_is_refused(chain: Chain) -> None:
    job, seal = chain.seal()
    chain.confirm(seal)
    again = chain.confirm(seal)
    chain.finalize()
    assert again["status"] == "0x0"
    assert verify_on_chain(chain.receipt(job, seal, again), chain.rpc, chain.pin).code == "transaction_failed"


def test_a_revoked_job_is_refused_as_revoked_once_that_is_final(chain: Chain) -> None:
    job, seal = chain.seal()
    transaction = chain.confirm(seal)
    receipt = chain.receipt(job, seal, transaction)
    chain.finalize()
    chain.revoke(job.ticket)
    assert verify_on_chain(receipt, chain.rpc, chain.pin).outcome is Outcome.VALID
    chain.finalize()
    verdict = verify_on_chain(receipt, chain.rpc, chain.pin)
    assert (verdict.outcome, verdict.code) == (Outcome.REFUSED, "revoked")
    assert f"0x{job.ticket:016x}" in verdict.sentence
    assert verify_on_chain(receipt, chain.rpc).code == "revoked"


def test_the_neighbours_of_a_revoked_job_stay_valid(chain: Chain) -> None:
    job, seal = chain.seal()
    neighbour = replace(job, ticket=job.ticket + 31, salt=keccak((1).to_bytes(8)))
    transaction = chain.confirm(seal)
    chain.revoke(job.ticket)
    chain.finalize()
    receipt = chain.receipt(neighbour, seal, transaction)
    assert verify_on_chain(receipt, chain.rpc, chain.pin).outcome is Outcome.VALID


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (YES, "not_pinned"),
        (NO, "not_confirmed"),
        (REVERT, "not_confirmed"),
        (NOTHING, "no_registry"),
        ("", "no_registry"),
    ],
)
def test_an_impostor_is_never_valid(chain: Chain, answer: str, code: str) -> None:
    job, seal = chain.seal(IMPOSTOR)
    address = "0x" + IMPOSTOR.hex()
    chain.rpc.call("anvil_setCode", address, code_of(YES))
    transaction = chain.send(address, "0x" + (keccak(BATCH_CONFIRMED.encode()) + seal.root).hex())
    chain.rpc.call("anvil_setCode", address, code_of(answer) if answer else "0x")
    chain.finalize()
    receipt = chain.receipt(job, seal, transaction, IMPOSTOR)
    assert verify_on_chain(receipt, chain.rpc).code == code
    assert verify_on_chain(receipt, chain.rpc, chain.pin).code == "registry_mismatch"
    assert (
        verify_on_chain(replace(receipt, registry=chain.registry), chain.rpc, chain.pin).code
        == "root_mismatch"
    )


def test_the_command_says_so_with_its_exit_status(chain: Chain, receipt: Receipt, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(verify)
    file = tmp_path / "receipt.json"
    file.write_bytes(receipt.to_json())
    pins = ["--registry", "0x" + chain.registry.hex(), "--chain-id", str(CHAIN_ID)]
    assert CliRunner().invoke(app, [str(file), "--rpc", chain.url, *pins]).exit_code == 0
    assert CliRunner().invoke(app, [str(file), "--rpc", chain.url]).exit_code == 3
    file.write_bytes(replace(receipt, block_number=receipt.block_number + 1).to_json())
    assert CliRunner().invoke(app, [str(file), "--rpc", chain.url, *pins]).exit_code == 1


Fault = Callable[[dict[str, Any]], bytes]


@contextmanager
def node_in_front_of(url: str, faults: dict[str, Fault]) -> Iterator[Rpc]:
    """A node that answers like the one at `url`, but the methods in `faults` as they say."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if fault := faults.get(request["method"]):
                body = fault(request)
            else:
                with Rpc(url) as rpc:
                    body = result(rpc.call(request["method"], *request["params"]))(request)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, *args: Any) -> None:
            """Keeps the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with Rpc(f"http://127.0.0.1:{server.server_port}/secret", timeout_s=5) as rpc:
            yield rpc
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def result(value: Any) -> Fault:
    return lambda request: json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": value}).encode()


def error(message: str, code: int = -32000) -> Fault:
    return lambda request: json.dumps(
        {"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message}}
    ).encode()


@pytest.mark.parametrize(
    ("method", "fault", "code"),
    [
        ("eth_chainId", result("0x1"), "wrong_chain"),
        ("eth_chainId", result(None), "rpc_answer"),
        ("eth_chainId", result(31337), "rpc_answer"),
        ("eth_chainId", result("mainnet"), "rpc_answer"),
        ("eth_chainId", error("rate limit\n\x1b[31m exceeded", -32005), "rpc_answer"),
        ("eth_getBlockByNumber", result(None), "finalized_unknown"),
        ("eth_getBlockByNumber", error("finalized block not found"), "finalized_unknown"),
        ("eth_getBlockByNumber", result([]), "rpc_answer"),
        ("eth_getBlockByNumber", result({}), "rpc_answer"),
        ("eth_getTransactionReceipt", error("indexing in progress"), "rpc_answer"),
        ("eth_getTransactionReceipt", result("0x"), "rpc_answer"),
        ("eth_getTransactionReceipt", result({"transactionHash": "0x00"}), "rpc_answer"),
        ("eth_getCode", error("header not found"), "rpc_answer"),
        ("eth_call", error("out of memory"), "rpc_answer"),
    ],
)
def test_a_node_that_fails_is_no_verdict(
    chain: Chain, receipt: Receipt, method: str, fault: Fault, code: str
) -> None:
    with node_in_front_of(chain.url, {method: fault}) as rpc:
        verdict = verify_on_chain(receipt, rpc, chain.pin)
        assert (verdict.outcome, verdict.code) == (Outcome.UNCHECKED, code)
        assert rpc.address in verdict.sentence
        assert "secret" not in verdict.sentence
        assert verdict.sentence.isprintable()


@pytest.mark.parametrize(
    ("method", "fault", "code"),
    [
        ("eth_getTransactionReceipt", result(None), "transaction_unknown"),
        ("eth_call", error("execution reverted", 3), "not_confirmed"),
        ("eth_call", result("0x" + "00" * 31 + "02"), "no_registry"),
    ],
)
def test_a_chain_that_denies_is_a_refusal(
    chain: Chain, receipt: Receipt, method: str, fault: Fault, code: str
) -> None:
    with node_in_front_of(chain.url, {method: fault}) as rpc:
        verdict = verify_on_chain(receipt, rpc, chain.pin)
    assert (verdict.outcome, verdict.code) == (Outcome.REFUSED, code)


def test_only_a_denial_costs_the_question_whether_the_job_was_revoked(chain: Chain, receipt: Receipt) -> None:
    calls: list[str] = []
    asked_for_proof = "0x" + verify_call(receipt)[:4].hex()

    def counted(answer: Any) -> Fault:
        def call(request: dict[str, Any]) -> bytes:
            calls.append(request["params"][0]["data"][:10])
            return result(answer)(request)

        return call

    for answer, asked in ((1, 0), (0, 1), (2, 0)):
        calls.clear()
        with node_in_front_of(chain.url, {"eth_call": counted(f"0x{answer:064x}")}) as rpc:
            verify_on_chain(receipt, rpc, chain.pin)
        assert calls == [asked_for_proof, *[IS_REVOKED] * asked]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (error("execution reverted", 3), "not_confirmed"),
        (result("0x"), "not_confirmed"),
        (error("header not found"), "rpc_answer"),
    ],
)
def test_without_an_answer_about_revocation_a_denial_is_not_called_one(
    chain: Chain, receipt: Receipt, fault: Fault, code: str
) -> None:
    def call(request: dict[str, Any]) -> bytes:
        asked = request["params"][0]["data"].startswith(IS_REVOKED)
        return (fault if asked else result(f"0x{0:064x}"))(request)

    with node_in_front_of(chain.url, {"eth_call": call}) as rpc:
        assert verify_on_chain(receipt, rpc, chain.pin).code == code


def test_a_block_that_is_no_longer_canonical_is_refused(chain: Chain, receipt: Receipt) -> None:
    def other_hash(request: dict[str, Any]) -> bytes:
        block = chain.rpc.call(request["method"], *request["params"])
        return result(block if request["params"][0] == "finalized" else {**block, "hash": "0x" + "00" * 32})(
            request
        )

    with node_in_front_of(chain.url, {"eth_getBlockByNumber": other_hash}) as rpc:
        assert verify_on_chain(receipt, rpc, chain.pin).code == "not_canonical"


def test_a_log_of_another_contract_or_root_announces_nothing(chain: Chain, receipt: Receipt) -> None:
    true = chain.rpc.call("eth_getTransactionReceipt", "0x" + receipt.transaction_hash.hex())
    log = next(log for log in true["logs"] if log["address"] == "0x" + receipt.registry.hex())
    for change in (
        {"address": "0x" + IMPOSTOR.hex()},
        {"topics": [log["topics"][0], "0x" + "00" * 32, *log["topics"][2:]]},
        {"topics": ["0x" + "00" * 32, *log["topics"][1:]]},
        {"topics": None},
    ):
        with node_in_front_of(
            chain.url, {"eth_getTransactionReceipt": result({**true, "logs": [{**log, **change}, None]})}
        ) as rpc:
            assert verify_on_chain(receipt, rpc, chain.pin).code == "event_missing"
