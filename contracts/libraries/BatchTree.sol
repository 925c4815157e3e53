// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.20;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

/// @title Batch trees of format 1
/// @notice The tree over the words of a batch. Pairs are hashed sorted: a word's index is inside its leaf, so its
/// position needs no binding. The odd node of a level moves up as it is; doubling it would give two lists of words
/// the same root.
library BatchTree {
    /// @notice The leaf of a word.
    /// @dev keccak256(abi.encode(index, mask, wordRoot)), made beyond the free memory without taking any: 512 leaves
    /// would pay for 64 KiB. The preimage of 96 bytes can be taken for no node, whose preimage is 64 bytes.
    function leaf(uint64 index, uint256 mask, bytes32 wordRoot) internal pure returns (bytes32 hash) {
        uint256 wide = index;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, wide)
            mstore(add(free, 0x20), mask)
            mstore(add(free, 0x40), wordRoot)
            hash := keccak256(free, 0x60)
        }
    }

    /// @notice The root over `nodes`, of which there is at least one. Overwrites `nodes`.
    function rootOf(bytes32[] memory nodes) internal pure returns (bytes32) {
        uint256 count = nodes.length;
        unchecked {
            while (count > 1) {
                uint256 pairs = count / 2;
                for (uint256 i = 0; i < pairs; ++i) {
                    nodes[i] = Hashes.commutativeKeccak256(nodes[2 * i], nodes[2 * i + 1]);
                }
                if (count % 2 == 1) nodes[pairs] = nodes[count - 1];
                count -= pairs;
            }
        }
        return nodes[0];
    }

    /// @notice The root of the tree that holds `wordLeaf` beside `siblings`, listed from the words up.
    function rootOf(bytes32 wordLeaf, bytes32[] calldata siblings) internal pure returns (bytes32) {
        return MerkleProof.processProofCalldata(siblings, wordLeaf);
    }
}
