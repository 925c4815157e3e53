"""Reading much of a registry at one block: many calls an exchange, all of them by the block's hash (EIP-1898).

By hash a node that has another block of this number, or has forgotten its state, says so instead of answering from
another one.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from relayer.chain.node import Block
from relayer.chain.registry import BatchInfo, batch_info, decode_answer, encode_call
from relayer.chain.rpc import JsonRpc, Request, RpcError

CALLS = 100
"""How many calls one exchange carries; providers refuse much longer ones."""

_LARGEST_RANGE = 10_000

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


def _data(name: str, *arguments: Any) -> str:
    return f"0x{encode_call(name, *arguments).hex()}"
