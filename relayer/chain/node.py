"""What the chain says, parsed: blocks, receipts, logs and accounts of one node. Answers that make no sense are errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from relayer.chain.rpc import JsonRpc, Request

Tag = Literal["latest", "finalized"]

_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True)
class Block:
    """The header of a block: height, hashes of 32 bytes, time in UTC."""

    number: int
    hash: bytes
    parent_hash: bytes
    mined_at: datetime


@dataclass(frozen=True)
class TransactionReceipt:
    """Where a transaction was mined and how it ended."""

    transaction_hash: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int


@dataclass(frozen=True)
class Log:
    """A log of a mined transaction."""

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
    """The logs of a range of blocks, with the headers of its last block and of every block that has a log."""

    logs: tuple[Log, ...]
    blocks: dict[int, Block]


class Node:
    """Typed reads from a node. Every method raises `RpcUnavailableError` and `RpcError` as `JsonRpc.call` does."""

    def __init__(self, rpc: JsonRpc) -> None:
        self.rpc = rpc

    async def chain_id(self) -> int:
        """Give the id of the node's chain (EIP-155)."""
        return self._parse("eth_chainId", _quantity, await self.rpc.call("eth_chainId"))

    async def sight(self, remembered: Block | None) -> Sight:
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

    async def blocks(self, heights: Sequence[int]) -> dict[int, Block]:
        """Give the canonical blocks of these heights, without those that the node does not have."""
        answers = await self.rpc.batch([_block_request(height) for height in heights])
        parsed = [self._parse("eth_getBlockByNumber", _block, answer) for answer in answers if answer]
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
        logs = sorted(
            self._parse("eth_getLogs", _logs, found), key=lambda log: (log.block_number, log.log_index)
        )
        blocks = await self.blocks(sorted({log.block_number for log in logs} | {last}))
        if last not in blocks:
            raise self.rpc.nonsense(f"block {last} is missing below its finalized block")
        for log in logs:
            block = blocks.get(log.block_number)
            if log.address != address or not first <= log.block_number <= last:
                raise self.rpc.nonsense("eth_getLogs was answered with logs that were not asked for")
            if block is None or block.hash != log.block_hash:
                raise self.rpc.nonsense(f"logs and header of block {log.block_number} do not agree")
        return LogRange(tuple(logs), blocks)

    def _parse(self, method: str, parse: Callable[[Any], _Parsed], answer: Any) -> _Parsed:
        try:
            return parse(answer)
        except (KeyError, TypeError, ValueError):
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


def _receipt(answer: Any) -> TransactionReceipt:
    return TransactionReceipt(
        transaction_hash=_bytes(answer["transactionHash"], 32),
        block_number=_quantity(answer["blockNumber"]),
        block_hash=_bytes(answer["blockHash"], 32),
        succeeded=_quantity(answer["status"]) == 1,
        gas_used=_quantity(answer["gasUsed"]),
    )


def _logs(answer: Any) -> list[Log]:
    return [
        Log(
            address=_bytes(log["address"], 20),
            block_number=_quantity(log["blockNumber"]),
            block_hash=_bytes(log["blockHash"], 32),
            transaction_hash=_bytes(log["transactionHash"], 32),
            log_index=_quantity(log["logIndex"]),
            topics=tuple(_bytes(topic, 32) for topic in log["topics"]),
            data=_bytes(log["data"]),
        )
        for log in answer
    ]


def _quantity(value: Any) -> int:
    return int(value, 16)


def _bytes(value: Any, length: int | None = None) -> bytes:
    decoded = bytes.fromhex(value.removeprefix("0x"))
    if length is not None and len(decoded) != length:
        raise ValueError(f"expected {length} bytes")
    return decoded


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"
