// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ReferenceTree} from "../support/ReferenceTree.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {JobConfirmation, Proof, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @title Word trees with jobs in them, and all that could be claimed from them
/// @notice Every leaf ever put in a tree is kept with its proof, whether its ticket was in the mask or not, whether the
/// batch was confirmed or refused; and for a ticket that was spent without a leaf, a job that was in no tree.
abstract contract JobTrees {
    /// @notice A job with a proof that may or may not hold.
    /// @param call `verify` with both, encoded.
    struct Claim {
        uint64 ticket;
        bytes call;
    }

    /// @param words As they are submitted.
    /// @param leaves The 256 leaves of each word.
    /// @param attempt Of which attempt to confirm the jobs are: no two attempts have a job in common.
    struct Planted {
        Word[] words;
        bytes32[][] leaves;
        uint256 attempt;
    }

    JobRegistry public registry;

    Claim[] private _claims;
    uint256 private _attempts;

    /// @notice The one claim of a ticket that verifies, counted from 1; 0: none does.
    mapping(uint64 ticket => uint256 claim) public bindingClaim;

    function claims() external view returns (Claim[] memory) {
        return _claims;
    }

    /// @dev Words with a job at each position of `masks`, but for those in `burnt`, and at each in `hidden`.
    function plant(
        uint64[] memory indices,
        uint256[] memory masks,
        uint256[] memory hidden,
        uint256[] memory burnt
    ) internal returns (Planted memory planted) {
        uint256 count = indices.length;
        planted = Planted(new Word[](count), new bytes32[][](count), ++_attempts);
        for (uint256 at = 0; at < count; ++at) {
            bytes32[] memory leaves =
                _leaves(indices[at], (masks[at] | hidden[at]) & ~burnt[at], planted.attempt);
            planted.leaves[at] = leaves;
            planted.words[at] = Word(indices[at], masks[at], ReferenceTree.wordRoot(leaves));
        }
    }

    /// @dev Keeps what can be claimed from `planted`. If it was confirmed, the jobs in its masks are bound to their
    /// tickets.
    function keepClaims(Planted memory planted, bool isConfirmed) internal {
        for (uint256 at = 0; at < planted.words.length; ++at) {
            Word memory word = planted.words[at];
            for (uint256 position = 0; position < 256; ++position) {
                bool hasLeaf = planted.leaves[at][position] != 0;
                bool isMarked = (word.mask >> position) & 1 == 1;
                if (!hasLeaf && !isMarked) continue;

                uint64 ticket = uint64(uint256(word.index) * 256 + position);
                Proof memory proof = Proof({
                    word: ReferenceTree.wordProof(planted.leaves[at], position),
                    mask: word.mask,
                    batch: ReferenceTree.batchProof(planted.words, at)
                });
                _keep(_jobOf(ticket, planted.attempt), proof);
                if (isConfirmed && hasLeaf && isMarked) bindingClaim[ticket] = _claims.length;

                // Beside the honest proof of a leaf that the mask leaves out, one with the bit that is missing.
                proof.mask |= 1 << position;
                if (!isMarked) _keep(_jobOf(ticket, planted.attempt), proof);
            }
        }
    }

    function _keep(JobConfirmation memory job, Proof memory proof) private {
        _claims.push(Claim(job.ticket, abi.encodeCall(JobRegistry.verify, (job, proof))));
    }

    function _leaves(uint64 index, uint256 at, uint256 attempt)
        private
        view
        returns (bytes32[] memory leaves)
    {
        leaves = new bytes32[](256);
        for (uint256 position = 0; position < 256; ++position) {
            if ((at >> position) & 1 == 0) continue;
            leaves[position] = registry.leafOf(_jobOf(uint64(uint256(index) * 256 + position), attempt));
        }
    }

    function _jobOf(uint64 ticket, uint256 attempt) private pure returns (JobConfirmation memory) {
        return JobConfirmation({
            ticket: ticket,
            jobId: bytes16(uint128(attempt)),
            inputHash: keccak256(abi.encode("input", ticket)),
            outputHash: keccak256(abi.encode("output", ticket, attempt)),
            completedAt: 1_700_000_000,
            salt: keccak256(abi.encode("salt", ticket, attempt))
        });
    }
}
