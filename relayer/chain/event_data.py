"""The ABI encoding of the two events with arrays, read by slicing; eth_abi builds an object for every member.

Source: Solidity, "Contract ABI Specification". Data that are not encoded so raise ValueError.
"""

from struct import Struct
from typing import Any

_SLOT = 32
_ABOVE_64_BITS = bytes(24)


def uint(data: bytes, slot: int, bits: int) -> int:
    """Give the unsigned number of so many bits in a slot of 32 bytes."""
    value = data[slot * _SLOT : (slot + 1) * _SLOT]
    number = int.from_bytes(value)
    if len(value) != _SLOT or number >> bits:
        raise ValueError(f"slot {slot} of the event's data is no uint{bits}")
    return number


def numbered(others: int) -> Struct:
    """The layout of a tuple of a uint64 and so many other static members."""
    return Struct(">24sQ" + others * "32s")


def tuples(data: bytes, slot: int, layout: Struct) -> list[tuple[Any, ...]]:
    """Give an array of tuples of a layout, whose offset lies in a slot: what is above the number, it, and the others."""
    start = uint(data, slot, 32)
    length = uint(data[start : start + _SLOT], 0, 32)
    first = start + _SLOT
    end = first + length * layout.size
    if len(data) < end:
        raise ValueError("the event's data end within its array")
    found = list(layout.iter_unpack(data[first:end]))
    if not {one[0] for one in found} <= {_ABOVE_64_BITS}:
        raise ValueError("a number in the event's data is no uint64")
    return found
