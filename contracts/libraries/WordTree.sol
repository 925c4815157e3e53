// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.20;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";

/// @title Word trees of format 1
/// @notice A tree of 256 positions and depth 8. Nodes are hashed left before right, never sorted, so a proof binds
/// its leaf to one position.
library WordTree {
    /// @notice The root of the tree that holds `leaf` at `position`, 0 to 255, beside `siblings`, listed from the leaves up.
    function rootOf(bytes32 leaf, uint256 position, bytes32[8] calldata siblings)
        internal
        pure
        returns (bytes32 node)
    {
        node = leaf;
        for (uint256 level = 0; level < 8; ++level) {
            bool isRight = (position >> level) & 1 == 1;
            node = isRight
                ? Hashes.efficientKeccak256(siblings[level], node)
                : Hashes.efficientKeccak256(node, siblings[level]);
        }
    }
}
