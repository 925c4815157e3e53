"""The ABI encoding of the two events with arrays, read by slicing; eth_abi builds an object for every member.

Source: Solidity, "Contract ABI Specification". Data that are not encoded so raise ValueError.
"""

_SLOT = 32


def uint(data: bytes, slot: int, bits: int) -> int:
    """Give the unsigned number of so many bits in a slot of 32 bytes."""
    value = data[slot * _SLOT : (slot + 1) * _SLOT]
    number = int.from_bytes(value)
    if len(value) != _SLOT or number >> bits:
        raise ValueError(f"slot {slot} of the event's data is no uint{bits}")
    return number


def tuples(data: bytes, slot: int, members: int) -> list[bytes]:
    """Give an array of tuples with so many static members, whose offset lies in a slot; each as its bytes."""
    start = uint(data, slot, 32)
    length = uint(data[start : start + _SLOT], 0, 32)
    first, size = start + _SLOT, members * _SLOT
    if len(data) < first + length * size:
        raise ValueError("the event's data end within its array")
    return [data[at : at + size] for at in range(first, first + length * size, size)]
