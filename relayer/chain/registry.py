"""The registry as Python sees it: its calls, its event and its errors, from the committed ABI."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import orjson
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_hash.backends.pysha3 import keccak256

from relayer.chain.event_data import numbered, tuples, uint
from relayer.chain.rpc import JsonRpc
from relayer.seal.tree import Word

_ABI: list[dict[str, Any]] = orjson.loads(
    files("relayer.chain").joinpath("abi/job_registry.json").read_bytes()
)
_SELECTOR_BYTES = 4


def _type(parameter: dict[str, Any]) -> str:
    """The canonical ABI type; a struct is written as the tuple of its members."""
    if not parameter["type"].startswith("tuple"):
        return str(parameter["type"])
    members = ",".join(_type(member) for member in parameter["components"])
    return f"({members}){parameter['type'].removeprefix('tuple')}"


@dataclass(frozen=True)
class _Entry:
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def hash(self) -> bytes:
        return bytes(keccak256(f"{self.name}({','.join(self.inputs)})".encode()))


def _entries(kind: str) -> dict[str, _Entry]:
    return {
        item["name"]: _Entry(
            item["name"],
            tuple(_type(parameter) for parameter in item.get("inputs", ())),
            tuple(_type(parameter) for parameter in item.get("outputs", ())),
        )
        for item in _ABI
        if item["type"] == kind
    }


_FUNCTIONS = _entries("function")
# The compiler's own two errors are in no ABI.
_COMPILER_ERRORS = (_Entry("Error", ("string",), ()), _Entry("Panic", ("uint256",), ()))
_ERRORS = {entry.hash[:_SELECTOR_BYTES]: entry for entry in (*_entries("error").values(), *_COMPILER_ERRORS)}
_EVENTS = _entries("event")
EVENT_TOPICS = tuple(entry.hash for entry in _EVENTS.values())
"""First topics of everything that the registry tells."""
BATCH_CONFIRMED_TOPIC = _EVENTS["BatchConfirmed"].hash
"""First topic of the event that announces a batch."""
JOBS_REVOKED_TOPIC = _EVENTS["JobsRevoked"].hash
"""First topic of the event that announces revocations."""
QUORUM_SET_TOPIC = _EVENTS["QuorumSet"].hash
"""First topic of the event that tells of another quorum."""

_WORD, _REVOCATION = numbered(2), numbered(1)

At = int | str | dict[str, Any]
"""A block by height, by tag, or by hash (EIP-1898)."""


@dataclass(frozen=True)
class RevertError:
    """Why a call reverted: the name of a custom error (`0x` and its selector if unknown) and its arguments."""

    name: str
    args: tuple[Any, ...]

    def __str__(self) -> str:
        arguments = ", ".join(f"0x{one.hex()}" if isinstance(one, bytes) else str(one) for one in self.args)
        return f"{self.name}({arguments})"


@dataclass(frozen=True)
class BatchConfirmed:
    """The event of a confirmed batch."""

    root: bytes
    submitter: bytes
    lane: int
    jobs: int
    approvals: int
    words: tuple[Word, ...]


@dataclass(frozen=True)
class BatchInfo:
    """What the registry keeps of a batch."""

    submitter: bytes
    confirmed_at: datetime
    jobs: int
    approvals: int
    format: int


def batch_info(answer: tuple[Any, ...]) -> BatchInfo | None:
    """What `batch(root)` gave; None where the registry keeps nothing under the root."""
    ((submitter, confirmed_at, jobs, approvals, version),) = answer
    if version == 0:
        return None
    return BatchInfo(
        bytes.fromhex(submitter[2:]), datetime.fromtimestamp(confirmed_at, UTC), jobs, approvals, version
    )


def decode_error(data: bytes) -> RevertError:
    """Decode what a reverted call returned."""
    selector, arguments = data[:_SELECTOR_BYTES], data[_SELECTOR_BYTES:]
    if (entry := _ERRORS.get(selector)) is None:
        return RevertError(f"0x{selector.hex()}", ())
    try:
        return RevertError(entry.name, tuple(decode(entry.inputs, arguments)))
    except DecodingError:
        return RevertError(f"0x{selector.hex()}", ())


class RegistryClient:
    """One JobRegistry. Reads raise `RpcUnavailableError` and `RpcError` as `JsonRpc.call` does."""

    def __init__(self, rpc: JsonRpc, chain_id: int, address: bytes) -> None:
        self.chain_id = chain_id
        self.address = address
        self._rpc = rpc

    @staticmethod
    def encode_confirm_batch(words: Sequence[Word]) -> bytes:
        """The call data of `confirmBatch(words)`."""
        return encode_call("confirmBatch", [(word.index, word.mask, word.root) for word in words])

    @staticmethod
    def decode_batch_confirmed(topics: Sequence[bytes], data: bytes) -> BatchConfirmed:
        """Decode a `BatchConfirmed` log.

        Raises:
            ValueError: the log is none.

        """
        if len(topics) != 4 or topics[0] != BATCH_CONFIRMED_TOPIC:
            raise ValueError("the log is no BatchConfirmed")
        jobs, approvals = uint(data, 0, 32), uint(data, 1, 8)
        return BatchConfirmed(
            root=topics[1],
            submitter=topics[2][-20:],
            lane=int.from_bytes(topics[3]),
            jobs=jobs,
            approvals=approvals,
            words=tuple(
                [Word(index, int.from_bytes(mask), root) for _, index, mask, root in tuples(data, 2, _WORD)]
            ),
        )

    @staticmethod
    def decode_jobs_revoked(topics: Sequence[bytes], data: bytes) -> dict[int, int]:
        """Decode a `JobsRevoked` log: the mask of revoked tickets by word.

        Raises:
            ValueError: the log is none.

        """
        if len(topics) != 3 or topics[0] != JOBS_REVOKED_TOPIC:
            raise ValueError("the log is no JobsRevoked")
        masks: dict[int, int] = {}
        for _, index, mask in tuples(data, 0, _REVOCATION):
            masks[index] = masks.get(index, 0) | int.from_bytes(mask)
        return masks

    @staticmethod
    def decode_quorum_set(topics: Sequence[bytes]) -> int:
        """Give the lane of a `QuorumSet` log.

        Raises:
            ValueError: the log is none.

        """
        if len(topics) != 2 or topics[0] != QUORUM_SET_TOPIC:
            raise ValueError("the log is no QuorumSet")
        return int.from_bytes(topics[1])

    decode_error = staticmethod(decode_error)

    async def batch(self, root: bytes, block: At = "latest") -> BatchInfo | None:
        """What the registry keeps under a root at a block (height or tag); None if nothing."""
        return batch_info(await self._read("batch", root, block=block))

    async def word(self, index: int, block: At = "latest") -> tuple[int, int]:
        """The spent and the revoked tickets of a word, as masks."""
        confirmed, revoked = await self._read("word", index, block=block)
        return confirmed, revoked

    async def paused(self, block: At = "latest") -> bool:
        """Whether confirming is stopped."""
        (paused,) = await self._read("paused", block=block)
        return bool(paused)

    async def has_role(self, role: bytes, account: bytes, block: At = "latest") -> bool:
        """Whether an account has a role."""
        (has,) = await self._read("hasRole", role, f"0x{account.hex()}", block=block)
        return bool(has)

    async def _read(self, name: str, *arguments: Any, block: At) -> tuple[Any, ...]:
        address = f"0x{self.address.hex()}"
        call = {"to": address, "data": f"0x{encode_call(name, *arguments).hex()}"}
        at = hex(block) if isinstance(block, int) else block
        answer = await self._rpc.call("eth_call", (call, at))
        try:
            return decode_answer(name, answer)
        except ValueError:
            raise self._rpc.nonsense(
                f"the contract at {address} does not answer like a JobRegistry"
            ) from None


def encode_call(name: str, *arguments: Any) -> bytes:
    """The call data of one of the registry's functions."""
    entry = _FUNCTIONS[name]
    return entry.hash[:_SELECTOR_BYTES] + encode(entry.inputs, arguments)


def decode_answer(name: str, answer: Any) -> tuple[Any, ...]:
    """What a node gave for a call of one of the registry's functions.

    Raises:
        ValueError: the answer is no value of the function's types.

    """
    try:
        return tuple(decode(_FUNCTIONS[name].outputs, bytes.fromhex(answer.removeprefix("0x"))))
    except (AttributeError, ValueError, DecodingError):
        raise ValueError(f"no answer of {name}") from None
