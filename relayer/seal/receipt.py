"""The receipt of a confirmed job: a record, and its one JSON form (`receipt.schema.json`, docs/reference/receipt.md)."""

import json
import re
from dataclasses import dataclass
from typing import Any

from relayer.seal.commitment import Domain, JobConfirmation, require_bytes, require_uint64, ticket_hex
from relayer.seal.strict_json import JsonError, parse_json
from relayer.seal.tree import DEPTH, MAX_BATCH_PROOF, WORD_TICKETS, Proof

MEDIA_TYPE = "application/vnd.jobseal.receipt+json"
VERSION = 1
MAX_RECEIPT_BYTES = 64 * 1024

_TOP = (
    "version",
    "chainId",
    "registry",
    "batchRoot",
    "transactionHash",
    "blockNumber",
    "blockHash",
    "job",
    "proof",
)
_JOB = ("ticket", "jobId", "inputHash", "outputHash", "completedAt", "salt")
_PROOF = ("word", "mask", "batch")
_QUANTITY = re.compile(r"0x(?:0|[1-9a-f][0-9a-f]{0,15})")
_HEX = re.compile(r"0x[0-9a-f]*")


class ReceiptError(ValueError):
    """Bytes that are not a receipt; `field` is the JSON pointer (RFC 6901) of what is wrong, "" for the whole."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(f"{json.dumps(field)}: {sentence}" if field else sentence)
        self.field = field


@dataclass(frozen=True, slots=True)
class Receipt:
    """A job, its proof, and where on which chain its batch was confirmed.

    `chain_id` and `block_number` are uint64, `registry` 20 bytes, `batch_root`, `transaction_hash` and `block_hash` 32.

    Raises:
        ValueError: a field has the wrong type or width.

    """

    chain_id: int
    registry: bytes
    batch_root: bytes
    transaction_hash: bytes
    block_number: int
    block_hash: bytes
    job: JobConfirmation
    proof: Proof

    def __post_init__(self) -> None:
        Domain(self.chain_id, self.registry)
        require_bytes("batch_root", self.batch_root, 32)
        require_bytes("transaction_hash", self.transaction_hash, 32)
        require_uint64("block_number", self.block_number)
        require_bytes("block_hash", self.block_hash, 32)
        if len(self.proof.word) != DEPTH or len(self.proof.batch) > MAX_BATCH_PROOF:
            raise ValueError(
                f"proof: expected {DEPTH} word siblings and at most {MAX_BATCH_PROOF} batch siblings"
            )
        for sibling in (*self.proof.word, *self.proof.batch):
            require_bytes("proof", sibling, 32)
        if not 0 <= self.proof.mask < 1 << WORD_TICKETS:
            raise ValueError("proof.mask: expected an integer from 0 to 2^256 - 1")

    def to_json(self) -> bytes:
        """The receipt in JSON, compact, members in the order of the schema: the same bytes for the same receipt."""
        document = {
            "version": VERSION,
            "chainId": hex(self.chain_id),
            "registry": _hex(self.registry),
            "batchRoot": _hex(self.batch_root),
            "transactionHash": _hex(self.transaction_hash),
            "blockNumber": hex(self.block_number),
            "blockHash": _hex(self.block_hash),
            "job": {
                "ticket": ticket_hex(self.job.ticket),
                "jobId": _hex(self.job.job_id),
                "inputHash": _hex(self.job.input_hash),
                "outputHash": _hex(self.job.output_hash),
                "completedAt": hex(self.job.completed_at),
                "salt": _hex(self.job.salt),
            },
            "proof": {
                "word": [_hex(sibling) for sibling in self.proof.word],
                "mask": f"0x{self.proof.mask:064x}",
                "batch": [_hex(sibling) for sibling in self.proof.batch],
            },
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Receipt":
        """Read a receipt, strictly: every field present once, none unknown, each in its only spelling.

        White space between tokens and the order of members are free, as in any JSON.

        Raises:
            ReceiptError: names the field.

        """
        if len(data) > MAX_RECEIPT_BYTES:
            raise ReceiptError("", f"a receipt has at most {MAX_RECEIPT_BYTES} bytes")
        try:
            document = parse_json(data)
        except JsonError as error:
            raise ReceiptError(error.pointer or "", error.sentence if error.pointer else str(error)) from None
        top = _Object(
            document,
            "",
            _TOP,
        )
        top.version()
        job = top.object("job", _JOB)
        proof = top.object("proof", _PROOF)
        return cls(
            chain_id=top.quantity("chainId", least=1),
            registry=top.fixed("registry", 20),
            batch_root=top.fixed("batchRoot", 32),
            transaction_hash=top.fixed("transactionHash", 32),
            block_number=top.quantity("blockNumber"),
            block_hash=top.fixed("blockHash", 32),
            job=JobConfirmation(
                ticket=int.from_bytes(job.fixed("ticket", 8)),
                job_id=job.fixed("jobId", 16),
                input_hash=job.fixed("inputHash", 32),
                output_hash=job.fixed("outputHash", 32),
                completed_at=job.quantity("completedAt"),
                salt=job.fixed("salt", 32),
            ),
            proof=Proof(
                word=proof.hashes("word", DEPTH, DEPTH),
                mask=int.from_bytes(proof.fixed("mask", 32)),
                batch=proof.hashes("batch", 0, MAX_BATCH_PROOF),
            ),
        )


class _Object:
    """A JSON object with exactly the members in `names`, read member by member; every refusal names its member."""

    def __init__(self, value: Any, pointer: str, names: tuple[str, ...]) -> None:
        if not isinstance(value, dict):
            raise ReceiptError(pointer, "expected an object")
        for name in names:
            if name not in value:
                raise ReceiptError(f"{pointer}/{name}", "missing")
        for name in value:
            if name not in names:
                raise ReceiptError(f"{pointer}/{name[:32]}", "unknown")
        self._value = value
        self._pointer = pointer

    def version(self) -> None:
        # In Python 1, 1.0 and True are equal; in a receipt only the integer is the version.
        value = self._value["version"]
        if type(value) is not int or value != VERSION:
            raise ReceiptError(self._at("version"), f"expected the integer {VERSION}")

    def object(self, name: str, names: tuple[str, ...]) -> "_Object":
        return _Object(self._value[name], self._at(name), names)

    def quantity(self, name: str, *, least: int = 0) -> int:
        value = self._value[name]
        if not isinstance(value, str) or not _QUANTITY.fullmatch(value) or int(value, 16) < least:
            raise ReceiptError(
                self._at(name),
                f"expected a quantity from {least:#x}: 0x and 1 to 16 lower-case hex digits, no leading zero",
            )
        return int(value, 16)

    def fixed(self, name: str, width: int) -> bytes:
        return _bytes(self._value[name], self._at(name), width)

    def hashes(self, name: str, least: int, most: int) -> tuple[bytes, ...]:
        values = self._value[name]
        if not isinstance(values, list) or not least <= len(values) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            raise ReceiptError(self._at(name), f"expected a list of {count} hashes")
        return tuple(
            _bytes(value, f"{self._at(name)}/{position}", 32) for position, value in enumerate(values)
        )

    def _at(self, name: str) -> str:
        return f"{self._pointer}/{name}"


def _bytes(value: Any, field: str, width: int) -> bytes:
    if not isinstance(value, str) or len(value) != 2 + 2 * width or not _HEX.fullmatch(value):
        raise ReceiptError(field, f"expected 0x and {2 * width} lower-case hex digits")
    return bytes.fromhex(value[2:])


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"
