// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {Word} from "contracts/interfaces/IJobRegistry.sol";

/// @title The trees of format 1, built plainly from their definition
/// @notice Shares no code with the contract, which it is compared with.
library ReferenceTree {
    function wordRoot(bytes32[] memory leaves) internal pure returns (bytes32) {
        return _last(_wordLevels(leaves))[0];
    }

    function wordProof(bytes32[] memory leaves, uint256 position)
        internal
        pure
        returns (bytes32[8] memory proof)
    {
        bytes32[][] memory levels = _wordLevels(leaves);
        for (uint256 level = 0; level < 8; ++level) {
            proof[level] = levels[level][(position >> level) ^ 1];
        }
    }

    function batchRoot(Word[] memory words) internal pure returns (bytes32) {
        return _last(_batchLevels(words))[0];
    }

    function batchProof(Word[] memory words, uint256 at) internal pure returns (bytes32[] memory proof) {
        bytes32[][] memory levels = _batchLevels(words);
        proof = new bytes32[](levels.length);
        uint256 length;
        for (uint256 level = 0; level < levels.length; ++level) {
            uint256 sibling = (at >> level) ^ 1;
            if (sibling < levels[level].length) proof[length++] = levels[level][sibling];
        }
        assembly {
            mstore(proof, length)
        }
    }

    /// @dev Nine levels, of 256 nodes down to one.
    function _wordLevels(bytes32[] memory leaves) private pure returns (bytes32[][] memory levels) {
        levels = new bytes32[][](9);
        levels[0] = leaves;
        for (uint256 level = 1; level < 9; ++level) {
            bytes32[] memory below = levels[level - 1];
            bytes32[] memory nodes = new bytes32[](leaves.length >> level);
            for (uint256 i = 0; i < nodes.length; ++i) {
                nodes[i] = keccak256(bytes.concat(below[2 * i], below[2 * i + 1]));
            }
            levels[level] = nodes;
        }
    }

    function _batchLevels(Word[] memory words) private pure returns (bytes32[][] memory levels) {
        uint256 depth = 1;
        for (uint256 width = words.length; width > 1; width = (width + 1) / 2) {
            ++depth;
        }
        levels = new bytes32[][](depth);
        levels[0] = new bytes32[](words.length);
        for (uint256 i = 0; i < words.length; ++i) {
            levels[0][i] = keccak256(
                bytes.concat(bytes32(uint256(words[i].index)), bytes32(words[i].mask), words[i].root)
            );
        }
        for (uint256 level = 1; level < depth; ++level) {
            bytes32[] memory below = levels[level - 1];
            bytes32[] memory nodes = new bytes32[]((below.length + 1) / 2);
            for (uint256 i = 0; i < nodes.length; ++i) {
                bool isPromoted = 2 * i + 1 == below.length;
                nodes[i] = isPromoted ? below[2 * i] : _sortedPair(below[2 * i], below[2 * i + 1]);
            }
            levels[level] = nodes;
        }
    }

    function _sortedPair(bytes32 a, bytes32 b) private pure returns (bytes32) {
        return keccak256(a < b ? bytes.concat(a, b) : bytes.concat(b, a));
    }

    function _last(bytes32[][] memory levels) private pure returns (bytes32[] memory) {
        return levels[levels.length - 1];
    }
}
