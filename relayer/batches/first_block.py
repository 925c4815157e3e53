"""Where a difference of bits begins: the first block at which a word is not what the database has for that block."""

from dataclasses import replace

from relayer.batches.differences import Difference, DifferenceClass
from relayer.batches.reconcile import ChainView, claimed_masks
from relayer.batches.survey import Survey
from relayer.chain.registry_reader import RegistryReader
from relayer.chain.rpc import JsonRpc, RpcError
from relayer.store.registries import RegistryRow

_OF_BITS = (DifferenceClass.MISSING_BITS, DifferenceClass.FOREIGN_BITS)


async def first_differing_block(
    rpc: JsonRpc, registry: RegistryRow, survey: Survey, chain: ChainView, one: Difference
) -> Difference:
    """Give a difference with its first block, by binary search; as it is where it is none of bits, or states are forgotten.

    Bits are never cleared, so a word that differs at a block goes on differing until the other side has the bit too.
    """
    if one.kind not in _OF_BITS:
        return one
    index = int(one.subject.removeprefix("word "))
    words = [word for word in survey.database.words if word.index == index]
    reader = RegistryReader(rpc, registry.address, chain.at)
    low, high = registry.first_block, chain.at.number
    try:
        while low < high:
            middle = (low + high) // 2
            if await reader.word_at(index, middle) == claimed_masks(words, middle).get(index, 0):
                low = middle + 1
            else:
                high = middle
    except RpcError:
        return one
    return replace(one, block=low)
