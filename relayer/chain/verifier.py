"""Checking a receipt against a chain: raw JSON-RPC to one node, nothing of the platform.

Everything is read at one block, the node's finalized one, so that no answer can be taken back by a reorganisation.
"""

import time
from types import TracebackType
from typing import Any, Literal, Self

import httpx2
import orjson
from eth_hash.backends.pysha3 import keccak256

from relayer.seal.commitment import encode_job, ticket_hex
from relayer.seal.receipt import Receipt
from relayer.seal.verify import Code, Outcome, Pin, Verdict, check, refused

VERIFY_ARGUMENTS = (
    "(uint64,bytes16,bytes32,bytes32,uint64,bytes32)",
    "(bytes32[8],uint256,bytes32[])",
)
BATCH_CONFIRMED = "BatchConfirmed(bytes32,address,uint8,uint32,uint8,(uint64,uint256,bytes32)[])"
MAX_ANSWER_BYTES = 8 * 1024 * 1024

_VERIFY_SELECTOR = keccak256(f"verify({','.join(VERIFY_ARGUMENTS)})".encode())[:4]
_IS_REVOKED_SELECTOR = keccak256(b"isRevoked(uint64)")[:4]
# Where the ABI puts what has no fixed length: the proof after the six fields and this offset; in the proof, the batch
# siblings after the word siblings, the mask and this offset.
_PROOF_OFFSET = (7 * 32).to_bytes(32)
_BATCH_OFFSET = (10 * 32).to_bytes(32)
_BATCH_CONFIRMED_TOPIC = f"0x{keccak256(BATCH_CONFIRMED.encode()).hex()}"
_TRUE = f"0x{1:064x}"
_FALSE = f"0x{0:064x}"
_EXECUTION_REVERTED = 3


class CannotCheckError(Exception):
    """The node could not be asked or its answer makes no sense; says nothing about the receipt."""

    def __init__(
        self,
        code: Literal["rpc_unreachable", "rpc_answer", "wrong_chain", "finalized_unknown"],
        sentence: str,
    ) -> None:
        super().__init__(sentence)
        self.code: Code = code


class NodeError(Exception):
    """The node answered a call with a JSON-RPC error; the message is fit for one line."""

    def __init__(self, error: Any) -> None:
        details = error if isinstance(error, dict) else {}
        message = str(details.get("message", error))[:200]
        super().__init__("".join(letter if letter.isprintable() else " " for letter in message))
        self.reverted = details.get("code") == _EXECUTION_REVERTED or "revert" in str(self).lower()


class Rpc:
    """A JSON-RPC node over HTTP, for one verifier at a time; a context manager.

    `timeout_s` bounds each call as a whole. Messages name the node by `address`, which leaves out path, query and
    credentials, because that is where providers put their keys.

    Raises:
        ValueError: `url` is no http or https address.

    """

    def __init__(self, url: str, *, timeout_s: float = 10.0) -> None:
        if (parsed := _http_url(url)) is None:
            raise ValueError("expected an RPC address such as http://127.0.0.1:8545")
        self.address = f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
        self._url = parsed
        self._timeout_s = timeout_s
        self._calls = 0
        # Uncompressed, so that the limit on the answer's size bounds memory as well.
        self._client = httpx2.Client(timeout=timeout_s, headers={"Accept-Encoding": "identity"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def call(self, method: str, *params: Any) -> Any:
        """The `result` of one call.

        Raises:
            CannotCheckError: no connection, no answer in time, or an answer that is not JSON-RPC.
            NodeError: the node answered with an error.

        """
        self._calls += 1
        request = {"jsonrpc": "2.0", "id": self._calls, "method": method, "params": params}
        try:
            answer = orjson.loads(self._exchange(orjson.dumps(request)))
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise CannotCheckError("rpc_unreachable", f"no answer from {self.address}: {reason}") from None
        except orjson.JSONDecodeError:
            raise self.nonsense(f"{method} was answered with something else than JSON") from None
        if not isinstance(answer, dict) or ("result" in answer) == ("error" in answer):
            raise self.nonsense(f"{method} was answered with something else than JSON-RPC")
        if "error" in answer:
            raise NodeError(answer["error"])
        if answer.get("id") != self._calls:
            raise self.nonsense(f"{method} was answered out of order")
        return answer["result"]

    def nonsense(self, sentence: str) -> CannotCheckError:
        """The error for an answer that cannot be right."""
        return CannotCheckError("rpc_answer", f"{self.address}: {sentence}")

    def _exchange(self, body: bytes) -> bytes:
        deadline = time.monotonic() + self._timeout_s
        received = bytearray()
        headers = {"Content-Type": "application/json"}
        with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            for chunk in response.iter_raw():
                received += chunk
                if len(received) > MAX_ANSWER_BYTES:
                    raise self.nonsense(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise httpx2.ReadTimeout(f"the answer took more than {self._timeout_s:g} s")
        if not response.is_success and not received.startswith(b"{"):
            raise CannotCheckError(
                "rpc_unreachable", f"{self.address} answered with HTTP status {response.status_code}"
            )
        return bytes(received)


def _http_url(url: str) -> httpx2.URL | None:
    """The URL, where it names an http or https server that could be connected to."""
    try:
        parsed = httpx2.URL(url)
        parsed.host.encode("idna")
    except (httpx2.InvalidURL, ValueError):
        return None
    usable = parsed.scheme in ("http", "https") and parsed.host and (parsed.port or 1) in range(1, 65536)
    return parsed if usable else None


def verify_on_chain(receipt: Receipt, rpc: Rpc, pin: Pin | None = None) -> Verdict:
    """Check every field of `receipt`: the proof by `check`, then the registry's word and the coordinates by the chain.

    VALID needs a complete pin; without one the best answer is CONSISTENT. UNCHECKED means that the node could not be asked.
    """
    pin = pin or Pin()
    verdict = check(receipt, pin)
    if verdict.outcome is Outcome.REFUSED:
        return verdict
    try:
        refusal = _refusal(receipt, rpc)
    except CannotCheckError as error:
        return Verdict(Outcome.UNCHECKED, error.code, str(error))
    except NodeError as error:
        return Verdict(Outcome.UNCHECKED, "rpc_answer", f"{rpc.address}: {error}")
    if refusal is not None:
        return refusal
    if not pin.complete:
        return Verdict(
            Outcome.CONSISTENT,
            "not_pinned",
            "the registry that the receipt itself names agrees; pin chain id and registry to know whether it is the right one",
        )
    return Verdict(
        Outcome.VALID, "confirmed", f"confirmed by the pinned registry in block {receipt.block_number}"
    )


def _refusal(receipt: Receipt, rpc: Rpc) -> Verdict | None:
    """The first thing on chain that speaks against the receipt."""
    chain_id = _quantity(rpc, rpc.call("eth_chainId"))
    if chain_id != receipt.chain_id:
        raise CannotCheckError(
            "wrong_chain",
            f"{rpc.address} serves chain {chain_id}, the receipt is of chain {receipt.chain_id}",
        )
    finalized = _finalized(rpc)
    return (
        _transaction_refusal(receipt, rpc)
        or _block_refusal(receipt, rpc, finalized)
        or _registry_refusal(receipt, rpc, finalized)
    )


def _finalized(rpc: Rpc) -> dict[str, Any]:
    try:
        block = rpc.call("eth_getBlockByNumber", "finalized", False)
    except NodeError as error:
        raise CannotCheckError(
            "finalized_unknown", f"{rpc.address} has no finalized block: {error}"
        ) from None
    if block is None:
        raise CannotCheckError("finalized_unknown", f"{rpc.address} has no finalized block yet")
    return _object(rpc, block)


def _transaction_refusal(receipt: Receipt, rpc: Rpc) -> Verdict | None:
    """The transaction succeeded, in the block named, and made this registry announce this root."""
    name = f"transaction 0x{receipt.transaction_hash.hex()}"
    answer = rpc.call("eth_getTransactionReceipt", _hex(receipt.transaction_hash))
    if answer is None:
        return refused("transaction_unknown", f"{rpc.address} knows no {name}")
    transaction = _object(rpc, answer)
    if _text(transaction, "transactionHash") != _hex(receipt.transaction_hash):
        raise rpc.nonsense("eth_getTransactionReceipt was answered with another transaction")
    block = (_quantity(rpc, transaction.get("blockNumber")), _text(transaction, "blockHash"))
    if block != (receipt.block_number, _hex(receipt.block_hash)):
        return refused(
            "block_mismatch", f"{name} is in block {block[0]} ({block[1]}), not where the receipt says"
        )
    if _quantity(rpc, transaction.get("status")) != 1:
        return refused("transaction_failed", f"{name} was reverted")
    logs = transaction.get("logs")
    if not isinstance(logs, list):
        raise rpc.nonsense("the transaction's receipt has no list of logs")
    if not any(_announces(log, receipt) for log in logs):
        return refused("event_missing", f"in {name} the registry did not announce the batch root")
    return None


def _announces(log: Any, receipt: Receipt) -> bool:
    return (
        isinstance(log, dict)
        and _text(log, "address") == _hex(receipt.registry)
        and isinstance(topics := log.get("topics"), list)
        and topics[:2] == [_BATCH_CONFIRMED_TOPIC, _hex(receipt.batch_root)]
    )


def _block_refusal(receipt: Receipt, rpc: Rpc, finalized: dict[str, Any]) -> Verdict | None:
    """The block is final, and the canonical one of its number."""
    height = _quantity(rpc, finalized.get("number"))
    if receipt.block_number > height:
        return refused("not_final", f"block {receipt.block_number} lies above the finalized block {height}")
    canonical = _object(rpc, rpc.call("eth_getBlockByNumber", hex(receipt.block_number), False))
    if _text(canonical, "hash") != _hex(receipt.block_hash):
        return refused("not_canonical", f"block {receipt.block_number} of the chain has another hash")
    return None


def _registry_refusal(receipt: Receipt, rpc: Rpc, finalized: dict[str, Any]) -> Verdict | None:
    """The contract at the registry's address vouches for job and proof, at the finalized block."""
    registry = _hex(receipt.registry)
    # By hash (EIP-1898): a node that has another block of this number says so instead of answering from it.
    at = {"blockHash": _text(finalized, "hash"), "requireCanonical": True}
    if rpc.call("eth_getCode", registry, at) == "0x":
        return refused("no_registry", f"there is no contract at {registry}")
    try:
        answer = rpc.call("eth_call", {"to": registry, "data": _hex(verify_call(receipt))}, at)
        if answer == _TRUE:
            return None
        if answer != _FALSE:
            return refused("no_registry", f"the contract at {registry} is no JobRegistry")
        revoked = rpc.call("eth_call", {"to": registry, "data": _hex(_is_revoked_call(receipt))}, at)
    except NodeError as error:
        if not error.reverted:
            raise
        return refused("not_confirmed", f"the contract at {registry} reverts: {error}")
    if revoked == _TRUE:
        return refused(
            "revoked",
            f"the registry {registry} has revoked the job of ticket {ticket_hex(receipt.job.ticket)}",
        )
    return refused("not_confirmed", f"the registry {registry} does not know the job as confirmed")


def verify_call(receipt: Receipt) -> bytes:
    """The call data of the contract's `verify(job, proof)`.

    By hand, because importing an ABI library takes longer than the whole check.
    """
    proof = receipt.proof
    return b"".join(
        (
            _VERIFY_SELECTOR,
            encode_job(receipt.job),
            _PROOF_OFFSET,
            *proof.word,
            proof.mask.to_bytes(32),
            _BATCH_OFFSET,
            len(proof.batch).to_bytes(32),
            *proof.batch,
        )
    )


def _is_revoked_call(receipt: Receipt) -> bytes:
    """The call data of the contract's `isRevoked(ticket)`."""
    return _IS_REVOKED_SELECTOR + receipt.job.ticket.to_bytes(32)


def _object(rpc: Rpc, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise rpc.nonsense("an answer that should be an object is none")
    return value


def _quantity(rpc: Rpc, value: Any) -> int:
    try:
        return int(value, 16)
    except (TypeError, ValueError):
        raise rpc.nonsense("an answer that should be a hex quantity is none") from None


def _text(members: dict[str, Any], name: str) -> str:
    """A hex string in lower case; the empty string, which equals no hash, where there is none."""
    value = members.get(name)
    return value.lower() if isinstance(value, str) else ""


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"
