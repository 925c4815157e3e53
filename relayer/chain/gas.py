"""How much gas a transaction is given."""

from collections.abc import Callable

# EIP-7825: no transaction may have more.
MAX_GAS = 1 << 24

_BASE = 21_000
_FLOOR_ZERO_BYTE = 10
_FLOOR_NONZERO_BYTE = 40

CalldataFloor = Callable[[bytes], int]
"""The least gas for which a chain takes a transaction with this call data.

Chains have rules of their own and change them. One that differs is given another such function by the composition root.
"""


def eip7623_floor(calldata: bytes) -> int:
    """Give the floor of Ethereum since Prague (EIP-7623)."""
    zeros = calldata.count(0)
    return _BASE + _FLOOR_ZERO_BYTE * zeros + _FLOOR_NONZERO_BYTE * (len(calldata) - zeros)


def gas_limit(estimate: int, calldata: bytes, floor: CalldataFloor = eip7623_floor) -> int:
    """Give a fifth more than the estimate, never below the floor, never above what a transaction may have."""
    return min(max(-(-estimate * 6 // 5), floor(calldata)), MAX_GAS)
