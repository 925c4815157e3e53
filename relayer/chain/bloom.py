"""The bloom filter over a block's logs (Yellow Paper, section 4.3.1): what is not in it is not in the block."""

from collections.abc import Sequence
from functools import lru_cache

from eth_hash.backends.pysha3 import keccak256

_BITS = 2048


def may_hold(bloom: bytes, address: bytes, topics: Sequence[bytes]) -> bool:
    """Whether a block may have a log of a contract with one of these first topics.

    False is certain, on chains that fill their filters. True is wrong for a few blocks in a thousand, for more where
    blocks are full.
    """
    bits = int.from_bytes(bloom)
    return _has(bits, address) and any(_has(bits, topic) for topic in topics)


def _has(bits: int, value: bytes) -> bool:
    mask = _mask(value)
    return bits & mask == mask


@lru_cache(maxsize=64)
def _mask(value: bytes) -> int:
    """The three bits of a value: the low 11 of each of the first three pairs of bytes of its hash."""
    digest = keccak256(value)
    mask = 0
    for at in (0, 2, 4):
        mask |= 1 << int.from_bytes(digest[at : at + 2]) % _BITS
    return mask
