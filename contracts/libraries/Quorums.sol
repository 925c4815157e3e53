// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.20;

/// @title The quorums of 32 lanes in one word
/// @notice A byte a lane, lane 0 lowest. Callers pass a lane below 32.
library Quorums {
    /// @notice The byte of `lane`.
    function get(uint256 packed, uint256 lane) internal pure returns (uint8) {
        // Only the lowest byte is wanted.
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint8(packed >> (lane * 8));
    }

    /// @notice `packed` with `quorum` as the byte of `lane`.
    function set(uint256 packed, uint256 lane, uint8 quorum) internal pure returns (uint256) {
        uint256 shift = lane * 8;
        return (packed & ~(uint256(type(uint8).max) << shift)) | (uint256(quorum) << shift);
    }
}
