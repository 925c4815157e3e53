"""What the chain says, parsed: blocks, receipts, logs and accounts of one node. Answers that make no sense are errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeVar

from relayer.chain.rpc import JsonRpc, Request, RpcError

Tag = Literal["latest", "finalized"]

EVERY_HEADER = 128
"""Up to so many blocks a range of logs is read with all its headers."""

_Parsed = TypeVar("_Parsed")

_BLOOM_BYTES = 256
_RECEIPTS_AT_ONCE = 100


@dataclass(frozen=True)
class BlockRef:
    """A block by height and hash of 32 bytes."""

    number: int
    hash: bytes


@dataclass(frozen=True)
class Block:
    """The header of a block: height, hashes of 32 bytes, time in UTC."""

    number: int
    hash: bytes
    parent_hash: bytes
    mined_at: datetime


@dataclass(frozen=True)
class Header(Block):
    """A block's header with the bloom filter over its logs, 256 bytes."""

    bloom: bytes


@dataclass(frozen=True)
class TransactionReceipt:
    """Where a transaction was mined and how it ended."""

    transaction_hash: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int


class Log(NamedTuple):
    """A log of a mined transaction. A range has thousands, and a tuple takes half the time of a frozen dataclass."""

    address: bytes
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    log_index: int
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True)
class AccountView:
    """The chain as a sender needs it, from one exchange; `nonce` is that of the latest block, `balance` in wei."""

    latest: Block
    finalized: Block
    nonce: int
    finalized_nonce: int
    balance: int


@dataclass(frozen=True)
class Sight:
    """What a look at a node found, from one exchange; `remembered` is its block at a height that was asked for."""

    chain_id: int
    latest: Block
    finalized: Block | None
    remembered: Block | None


@dataclass(frozen=True)
class LogRange:
    """The logs of a range of blocks, with the headers of its last block and of every block that has a log.

    Short ranges come with every header, each the child of the one before it.
    """

    logs: tuple[Log, ...]
    blocks: dict[int, Header]


class Node:
    """Typed reads from a node. Every method raises `RpcUnavailableError` and `RpcError` as `JsonRpc.call` does."""

    def __init__(self, rpc: JsonRpc) -> None:
        self.rpc = rpc

    async def chain_id(self) -> int:
        """Give the id of the node's chain (EIP-155)."""
        return self._parse("eth_chainId", _quantity, await self.rpc.call("eth_chainId"))

    async def sight(self, remembered: Block | BlockRef | None) -> Sight:
        """Give the chain's id, its heads, and the block that the node has at the height of `remembered`."""
        requests: list[Request] = [
            ("eth_chainId", ()),
            _block_request("latest"),
            _block_request("finalized"),
        ]
        if remembered is not None:
            requests.append(_block_request(remembered.number))
        chain_id, latest, *others = await self.rpc.batch(requests)
        finalized, again = (
            self._parse("eth_getBlockByNumber", _block, one) if one else None for one in (*others, None)[:2]
        )
        return Sight(
            self._parse("eth_chainId", _quantity, chain_id),
            self._parse("eth_getBlockByNumber", _block, latest),
            finalized,
            again,
        )

    async def block(self, which: int | Tag) -> Block | None:
        """Give the canonical block of a height or tag; None if the node has none."""
        answer = await self.rpc.call(*_block_request(which))
        return None if answer is None else self._parse("eth_getBlockByNumber", _block, answer)

    async def heads(self) -> tuple[Block, Block]:
        """Give the latest and the finalized block, from one exchange."""
        latest, finalized = await self.rpc.batch([_block_request("latest"), _block_request("finalized")])
        if finalized is None:
            raise self.rpc.nonsense("the node has no finalized block")
        method = "eth_getBlockByNumber"
        return self._parse(method, _block, latest), self._parse(method, _block, finalized)

    async def blocks(self, heights: Sequence[int]) -> dict[int, Block]:
        """Give the canonical blocks of these heights, without those that the node does not have."""
        return dict(await self.headers(heights))

    async def headers(self, heights: Sequence[int]) -> dict[int, Header]:
        """Give the headers of the canonical blocks of these heights, without those that the node does not have."""
        answers = await self.rpc.batch([_block_request(height) for height in heights])
        parsed = [self._parse("eth_getBlockByNumber", _header, answer) for answer in answers if answer]
        return {block.number: block for block in parsed}

    async def account(self, address: bytes) -> AccountView:
        """Give heads, nonces and balance of an account."""
        account = _hex(address)
        latest, finalized, nonce, finalized_nonce, balance = await self.rpc.batch(
            [
                _block_request("latest"),
                _block_request("finalized"),
                ("eth_getTransactionCount", (account, "latest")),
                ("eth_getTransactionCount", (account, "finalized")),
                ("eth_getBalance", (account, "latest")),
            ]
        )
        return AccountView(
            self._parse("eth_getBlockByNumber", _block, latest),
            self._parse("eth_getBlockByNumber", _block, finalized),
            self._parse("eth_getTransactionCount", _quantity, nonce),
            self._parse("eth_getTransactionCount", _quantity, finalized_nonce),
            self._parse("eth_getBalance", _quantity, balance),
        )

    async def nonce(self, address: bytes) -> int:
        """Give the next nonce of an account by the latest block."""
        answer = await self.rpc.call("eth_getTransactionCount", (_hex(address), "latest"))
        return self._parse("eth_getTransactionCount", _quantity, answer)

    async def known(self, hashes: Sequence[bytes]) -> frozenset[bytes]:
        """Give those of these transactions that the node has, mined or in its pool."""
        answers = await self.rpc.batch([("eth_getTransactionByHash", (_hex(one),)) for one in hashes])
        return frozenset(one for one, answer in zip(hashes, answers, strict=True) if answer is not None)

    async def receipts(self, hashes: Sequence[bytes]) -> dict[bytes, TransactionReceipt]:
        """Give the receipts of these transactions, without those that are not mined."""
        answers = await self.rpc.batch([("eth_getTransactionReceipt", (_hex(one),)) for one in hashes])
        parsed = [self._parse("eth_getTransactionReceipt", _receipt, answer) for answer in answers if answer]
        return {receipt.transaction_hash: receipt for receipt in parsed}

    async def logs(self, address: bytes, first: int, last: int) -> LogRange:
        """Give the logs of a contract from block `first` to `last`, both included and final, in their order.

        The same exchange proves that the node has the whole range final: an empty list of a node that lags
        behind is no evidence.
        """
        query = {"address": _hex(address), "fromBlock": hex(first), "toBlock": hex(last)}
        found, finalized = await self.rpc.batch([("eth_getLogs", (query,)), _block_request("finalized")])
        if self._parse("eth_getBlockByNumber", _block, finalized).number < last:
            raise self.rpc.nonsense(f"its finalized block fell back below block {last}")
        logs = self._in_order(found)
        whole = range(first, last + 1) if last - first < EVERY_HEADER else ()
        blocks = await self.headers(sorted({log.block_number for log in logs} | {last, *whole}))
        if last not in blocks:
            raise self.rpc.nonsense(f"block {last} is missing below its finalized block")
        for height in whole[1:]:
            self._require_child(blocks.get(height), blocks.get(height - 1), height)
        for log in logs:
            block = blocks.get(log.block_number)
            if log.address != address or not first <= log.block_number <= last:
                raise self.rpc.nonsense("eth_getLogs was answered with logs that were not asked for")
            if block is None or block.hash != log.block_hash:
                raise self.rpc.nonsense(f"logs and header of block {log.block_number} do not agree")
        return LogRange(tuple(logs), blocks)

    async def logs_of_blocks(self, address: bytes, hashes: Sequence[bytes]) -> list[tuple[Log, ...]]:
        """Give the logs of a contract in each of these blocks, which are asked for by hash (EIP-234)."""
        queries = [{"address": _hex(address), "blockHash": _hex(one)} for one in hashes]
        answers = await self.rpc.batch([("eth_getLogs", (query,)) for query in queries])
        return [
            tuple(self._only_of(address, block_hash, self._in_order(answer)))
            for block_hash, answer in zip(hashes, answers, strict=True)
        ]

    async def logs_of_receipts(self, address: bytes, block: Block) -> tuple[Log, ...]:
        """Give the logs of a contract in a block from the receipts of its transactions.

        For a block that has more logs than a node gives at once, and for one whose logs a node seems to have lost.
        """
        try:
            receipts = await self.rpc.call("eth_getBlockReceipts", (_hex(block.hash),))
        except RpcError:
            receipts = await self._receipts_one_by_one(block)
        if not isinstance(receipts, list):
            raise self.rpc.nonsense(f"it gives no receipts of block {block.number}")
        wanted = [
            log
            for receipt in receipts
            for log in self._parse("eth_getBlockReceipts", _logs_member, receipt)
            if self._parse("eth_getBlockReceipts", _address, log) == address
        ]
        return tuple(self._only_of(address, block.hash, self._in_order(wanted)))

    async def _receipts_one_by_one(self, block: Block) -> list[Any]:
        answer = await self.rpc.call("eth_getBlockByHash", (_hex(block.hash), False))
        hashes = self._parse("eth_getBlockByHash", _transactions, answer)
        receipts: list[Any] = []
        for at in range(0, len(hashes), _RECEIPTS_AT_ONCE):
            chunk = hashes[at : at + _RECEIPTS_AT_ONCE]
            receipts += await self.rpc.batch([("eth_getTransactionReceipt", (one,)) for one in chunk])
        return receipts

    def _in_order(self, answer: Any) -> list[Log]:
        return sorted(
            self._parse("eth_getLogs", _logs, answer), key=lambda log: (log.block_number, log.log_index)
        )

    def _only_of(self, address: bytes, block_hash: bytes, logs: list[Log]) -> list[Log]:
        if any(log.address != address or log.block_hash != block_hash for log in logs):
            raise self.rpc.nonsense("it gave logs of another block or contract than was asked for")
        return logs

    def _require_child(self, block: Block | None, parent: Block | None, height: int) -> None:
        if block is None or parent is None or block.parent_hash != parent.hash:
            raise self.rpc.nonsense(f"its block {height} is not the child of its block {height - 1}")

    def _parse(self, method: str, parse: Callable[[Any], _Parsed], answer: Any) -> _Parsed:
        try:
            return parse(answer)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
            raise self.rpc.nonsense(f"{method} was answered with something that is none") from None


def _block_request(which: int | Tag) -> Request:
    return "eth_getBlockByNumber", (hex(which) if isinstance(which, int) else which, False)


def _block(answer: Any) -> Block:
    return Block(
        number=_quantity(answer["number"]),
        hash=_bytes(answer["hash"], 32),
        parent_hash=_bytes(answer["parentHash"], 32),
        mined_at=datetime.fromtimestamp(_quantity(answer["timestamp"]), UTC),
    )


def _header(answer: Any) -> Header:
    block = _block(answer)
    return Header(
        block.number, block.hash, block.parent_hash, block.mined_at, _bytes(answer["logsBloom"], _BLOOM_BYTES)
    )


def _receipt(answer: Any) -> TransactionReceipt:
    return TransactionReceipt(
        transaction_hash=_bytes(answer["transactionHash"], 32),
        block_number=_quantity(answer["blockNumber"]),
        block_hash=_bytes(answer["blockHash"], 32),
        succeeded=_quantity(answer["status"]) == 1,
        gas_used=_quantity(answer["gasUsed"]),
    )


class _Decoded(dict[str, bytes]):
    """Bytes of a length by their hexadecimal digits, each decoded once: the logs of a range share most of them."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self._length = length

    def __missing__(self, digits: str) -> bytes:
        decoded = self[digits] = _bytes(digits, self._length)
        return decoded


def _logs(answer: Any) -> list[Log]:
    addresses, words = _Decoded(20), _Decoded(32)
    return [
        Log(
            addresses[log["address"]],
            _quantity(log["blockNumber"]),
            words[log["blockHash"]],
            _bytes(log["transactionHash"], 32),
            _quantity(log["logIndex"]),
            tuple([words[topic] for topic in log["topics"]]),
            _bytes(log["data"]),
        )
        for log in answer
    ]


def _logs_member(receipt: Any) -> list[Any]:
    return list(receipt["logs"])


def _address(log: Any) -> bytes:
    return _bytes(log["address"], 20)


def _transactions(block: Any) -> list[str]:
    return [str(one) for one in block["transactions"]]


def _quantity(value: Any) -> int:
    return int(value, 16)


def _bytes(value: Any, length: int | None = None) -> bytes:
    decoded = bytes.fromhex(value.removeprefix("0x"))
    if length is not None and len(decoded) != length:
        raise ValueError(f"expected {length} bytes")
    return decoded


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"
