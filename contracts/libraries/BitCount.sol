// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.20;

/// @title Counting the bits of a mask
library BitCount {
    /// @dev Lanes of 2, 4, 8 and 16 bits: the lower half of every pair of neighbours.
    uint256 private constant LANES_1 = type(uint256).max / 3;
    uint256 private constant LANES_2 = type(uint256).max / 5;
    uint256 private constant LANES_4 = type(uint256).max / 17;
    uint256 private constant LANES_8 = type(uint256).max / 257;
    uint256 private constant LANES_16 = type(uint256).max / 65_535;

    /// @notice How many bits of `mask` are set, 0 to 256.
    /// @dev Adds neighbours in ever wider lanes. The last sum is taken in lanes of 16 bits, because 256 does not fit
    /// into 8.
    function ones(uint256 mask) internal pure returns (uint256) {
        unchecked {
            mask -= (mask >> 1) & LANES_1;
            mask = (mask & LANES_2) + ((mask >> 2) & LANES_2);
            mask = (mask + (mask >> 4)) & LANES_4;
            mask = (mask & LANES_8) + ((mask >> 8) & LANES_8);
            return (mask * LANES_16) >> 240;
        }
    }
}
