"""Reading much of a registry at one block: many calls an exchange, all of them by the block's hash (EIP-1898).

By hash a node that has another block of this number, or has forgotten its state, says so instead of answering from
another one.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from eth_hash.backends.pysha3 import keccak256

from relayer.chain.node import Block
from relayer.chain.registry import BatchInfo, batch_info, decode_answer, encode_call
from relayer.chain.registry_view import RegistryView
from relayer.chain.rpc import JsonRpc, Request, RpcError

CALLS = 100
"""How many calls one exchange carries; providers refuse much longer ones."""

_LARGEST_RANGE = 10_000
# keccak256("eip1967.proxy.implementation") - 1, the slot of ERC-1967.
_IMPLEMENTATION = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"
_CONFIRMER_ROLE = keccak256(b"CONFIRMER_ROLE")

T = TypeVar("T")


class RegistryReader:
    """One registry at one block of one node. Reads raise `RpcUnavailableError` and `RpcError` as `JsonRpc.call` does."""

    def __init__(self, rpc: JsonRpc, address: bytes, at: Block) -> None:
        self._rpc = rpc
        self._address = f"0x{address.hex()}"
        self._at = {"blockHash": f"0x{at.hash.hex()}", "requireCanonical": True}

    async def batches(self, roots: Sequence[bytes]) -> dict[bytes, BatchInfo]:
        """Give what the registry keeps under these roots, without those that it does not know."""
        found = await self._calls("batch", roots, batch_info)
        return {root: info for root, info in zip(roots, found, strict=True) if info is not None}

    async def words(self, indices: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Give the spent and the revoked tickets of words, as masks."""
        found = await self._calls("word", indices, lambda answer: (int(answer[0]), int(answer[1])))
        return dict(zip(indices, found, strict=True))

    async def word_at(self, index: int, height: int) -> int:
        """Give the spent tickets of a word at another height, as a mask; needs a node that keeps old states."""
        call = {"to": self._address, "data": _data("word", index)}
        answer = await self._rpc.call("eth_call", (call, hex(height)))
        # Before the registry was there.
        return 0 if answer == "0x" else int(self._decoded("word", answer)[0])

    async def view(self, account: bytes, at: Block) -> RegistryView:
        """Give pause, code, and whether an account may confirm."""
        role = encode_call("hasRole", _CONFIRMER_ROLE, f"0x{account.hex()}").hex()
        paused, may_confirm, slot = await self._rpc.batch(
            [
                ("eth_call", ({"to": self._address, "data": _data("paused")}, self._at)),
                ("eth_call", ({"to": self._address, "data": f"0x{role}"}, self._at)),
                ("eth_getStorageAt", (self._address, _IMPLEMENTATION, self._at)),
            ]
        )
        implementation = self._bytes(slot)[-20:]
        code = self._bytes(await self._rpc.call("eth_getCode", (f"0x{implementation.hex()}", self._at)))
        return RegistryView(
            paused=bool(self._decoded("paused", paused)[0]),
            confirmer_role=bool(self._decoded("hasRole", may_confirm)[0]),
            implementation=implementation,
            code_hash=bytes(keccak256(code)),
            block_number=at.number,
            block_hash=at.hash,
        )

    async def logs(
        self, first: int, last: int, topics: Sequence[str | None] = ()
    ) -> AsyncIterator[dict[str, Any]]:
        """Give the registry's logs from block `first` to `last` as the node words them, in their order.

        Ranges that the node refuses are halved, down to one block.
        """
        size = _LARGEST_RANGE
        while first <= last:
            end = min(first + size - 1, last)
            query = {"address": self._address, "fromBlock": hex(first), "toBlock": hex(end)}
            if topics:
                query["topics"] = list(topics)  # type: ignore[assignment]  # JSON
            try:
                found = await self._rpc.call("eth_getLogs", (query,))
            except RpcError:
                if end == first:
                    raise
                size = (end - first + 1) // 2
                continue
            for log in found:
                yield log
            first = end + 1

    async def _calls(
        self, name: str, arguments: Sequence[Any], convert: Callable[[tuple[Any, ...]], T]
    ) -> list[T]:
        found: list[T] = []
        for start in range(0, len(arguments), CALLS):
            requests: list[Request] = [
                ("eth_call", ({"to": self._address, "data": _data(name, one)}, self._at))
                for one in arguments[start : start + CALLS]
            ]
            found += [convert(self._decoded(name, answer)) for answer in await self._rpc.batch(requests)]
        return found

    def _decoded(self, name: str, answer: Any) -> tuple[Any, ...]:
        try:
            return decode_answer(name, answer)
        except ValueError:
            raise self._rpc.nonsense(
                f"the contract at {self._address} does not answer like a JobRegistry"
            ) from None

    def _bytes(self, answer: Any) -> bytes:
        try:
            return bytes.fromhex(answer.removeprefix("0x"))
        except (AttributeError, ValueError):
            raise self._rpc.nonsense("an answer that should be bytes is none") from None


def _data(name: str, *arguments: Any) -> str:
    return f"0x{encode_call(name, *arguments).hex()}"
