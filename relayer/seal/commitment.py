"""What a job commits to: hashes of its content, its ticket, and the leaf, an EIP-712 digest."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eth_hash.backends.pysha3 import keccak256

from relayer.seal.strict_json import JsonError, canonical_json, parse_json

__all__ = [
    "Domain",
    "JobConfirmation",
    "JsonError",
    "bit",
    "canonical_json",
    "encode_job",
    "input_hash",
    "input_hash_of",
    "lane",
    "leaf",
    "parse_json",
    "ticket_hex",
    "word",
]

DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
DOMAIN_NAME = b"JobRegistry"
DOMAIN_VERSION = b"1"
JOB_TYPE = (
    b"JobConfirmation(uint64 ticket,bytes16 jobId,bytes32 inputHash,bytes32 outputHash,"
    b"uint64 completedAt,bytes32 salt)"
)
UINT64_MAX = 2**64 - 1

_DOMAIN_TYPEHASH = keccak256(DOMAIN_TYPE)
_JOB_TYPEHASH = keccak256(JOB_TYPE)
_HALF_WORD = bytes(16)


@dataclass(frozen=True, slots=True)
class JobConfirmation:
    """The six fields of a leaf, as the contract's struct of the same name.

    `ticket` is a uint64, `job_id` the 16 bytes of the job's UUID, the hashes SHA-256 digests, `completed_at` Unix
    seconds (uint64), `salt` 32 random bytes of this job alone.

    Raises:
        ValueError: a field has the wrong type or width.

    """

    ticket: int
    job_id: bytes
    input_hash: bytes
    output_hash: bytes
    completed_at: int
    salt: bytes

    def __post_init__(self) -> None:
        require_uint64("ticket", self.ticket)
        require_bytes("job_id", self.job_id, 16)
        require_bytes("input_hash", self.input_hash, 32)
        require_bytes("output_hash", self.output_hash, 32)
        require_uint64("completed_at", self.completed_at)
        require_bytes("salt", self.salt, 32)


@dataclass(frozen=True)
class Domain:
    """The EIP-712 domain of one registry: its chain id (uint64, not 0) and its address (20 bytes).

    Raises:
        ValueError: a field has the wrong type or width.

    """

    chain_id: int
    registry: bytes

    def __post_init__(self) -> None:
        require_uint64("chain_id", self.chain_id)
        if self.chain_id == 0:
            raise ValueError("chain_id: 0 is no chain")
        require_bytes("registry", self.registry, 20)

    @cached_property
    def separator(self) -> bytes:
        """The domain separator, 32 bytes."""
        return keccak256(
            _DOMAIN_TYPEHASH
            + keccak256(DOMAIN_NAME)
            + keccak256(DOMAIN_VERSION)
            + self.chain_id.to_bytes(32)
            + self.registry.rjust(32, b"\0")
        )

    @cached_property
    def prefix(self) -> bytes:
        """What stands before the struct hash in every digest of this domain: `0x1901` and the separator."""
        return b"\x19\x01" + self.separator


def leaf(domain: Domain, job: JobConfirmation) -> bytes:
    """The EIP-712 digest of `job` under `domain`, 32 bytes; the contract's `leafOf`."""
    return keccak256(domain.prefix + keccak256(_JOB_TYPEHASH + encode_job(job)))


def encode_job(job: JobConfirmation) -> bytes:
    """The six fields as the contract ABI and EIP-712 both encode them, 32 bytes each."""
    return (
        job.ticket.to_bytes(32)
        + job.job_id
        + _HALF_WORD
        + job.input_hash
        + job.output_hash
        + job.completed_at.to_bytes(32)
        + job.salt
    )


def input_hash(kind: str, input_value: Any) -> bytes:
    """SHA-256 over the RFC 8785 form of `{"input": …, "kind": …}`; `input_value` as the client sent it.

    Raises:
        JsonError: the input has no canonical form.

    """
    return input_hash_of(kind, canonical_json(input_value))


def input_hash_of(kind: str, canonical_input: bytes) -> bytes:
    """Give what `input_hash` does, from the input's RFC 8785 form."""
    return hashlib.sha256(b'{"input":%b,"kind":%b}' % (canonical_input, canonical_json(kind))).digest()


def lane(ticket: int) -> int:
    """The top 8 bits of a ticket: who must confirm it."""
    return ticket >> 56


def word(ticket: int) -> int:
    """The index of the word of 256 tickets that a ticket lies in; it begins with the lane."""
    return ticket >> 8


def bit(ticket: int) -> int:
    """The position of a ticket in its word, 0 to 255."""
    return ticket & 255


def ticket_hex(ticket: int) -> str:
    """A ticket as text: `0x` and 16 lower-case digits."""
    return f"0x{ticket:016x}"


def require_uint64(name: str, value: int) -> None:
    """Raise ValueError, naming the field, unless `value` is an integer from 0 to 2^64 - 1."""
    if type(value) is not int or not 0 <= value <= UINT64_MAX:
        raise ValueError(f"{name}: expected an integer from 0 to 2^64 - 1")


def require_bytes(name: str, value: bytes, width: int) -> None:
    """Raise ValueError, naming the field, unless `value` is `width` bytes."""
    if type(value) is not bytes or len(value) != width:
        raise ValueError(f"{name}: expected {width} bytes")
