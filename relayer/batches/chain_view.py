"""What a registry itself says of a batch."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from relayer.chain.node import Node
from relayer.chain.registry import RegistryClient
from relayer.chain.rpc import JsonRpc
from relayer.seal.tree import Word

_AT_ONCE = 16


@dataclass(frozen=True)
class ChainView:
    """A batch on chain.

    Attributes:
        finalized: the height of the block at which everything but `known_at_head` was read.
        known: whether the batch's root is confirmed there.
        known_at_head: whether it is at the latest block.
        paused: whether the registry is paused.
        spent: how many of the batch's tickets are spent, under whatever root.

    """

    finalized: int
    known: bool
    known_at_head: bool
    paused: bool
    spent: int


async def look(client: RegistryClient, rpc: JsonRpc, root: bytes, words: Sequence[Word]) -> ChainView:
    """Read a batch from its registry.

    Raises:
        RpcUnavailableError: no answer, or one that makes no sense.
        RpcError: the node refuses to tell.

    """
    block = await Node(rpc).block("finalized")
    if block is None:
        raise rpc.nonsense("it has no finalized block")
    gate = asyncio.Semaphore(_AT_ONCE)

    async def spent(word: Word) -> int:
        async with gate:
            confirmed, _ = await client.word(word.index, block.number)
        return (confirmed & word.mask).bit_count()

    return ChainView(
        finalized=block.number,
        known=await client.batch(root, block.number) is not None,
        known_at_head=await client.batch(root) is not None,
        paused=await client.paused(block.number),
        spent=sum(await asyncio.gather(*(spent(word) for word in words))),
    )
