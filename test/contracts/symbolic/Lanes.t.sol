// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {SymbolicRegistry} from "./SymbolicRegistry.sol";
import {Batch, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @dev With any indices of 64 bits, of which a lane has only 8 left.
contract LanesProof is SymbolicRegistry {
    /// @custom:halmos --array-lengths words={1,2,3,4}
    function check_ABatchLiesInOneOpenLane(address caller, uint64 time, Word[] memory words) public {
        vm.warp(time);
        vm.prank(caller);
        bytes32 root = registry.confirmBatch(words);

        assert(registry.hasRole(registry.CONFIRMER_ROLE(), caller));
        assert(!registry.paused());
        assert(registry.quorum(laneOf(words)) == 1);
        assertRecorded(root, caller, time, 1);
    }

    /// @custom:halmos --array-lengths words={1,2},signers={0,1,2},signatures={0,1,2}
    function check_ASignedBatchHasTheQuorumOfItsLane(
        address caller,
        uint64 time,
        Word[] memory words,
        uint256 deadline,
        address[] memory signers,
        bytes[] memory signatures
    ) public {
        vm.warp(time);
        vm.prank(caller);
        bytes32 root = registry.confirmBatchWithSignatures(words, deadline, signers, signatures);

        assert(!registry.paused());
        assert(time <= deadline);
        uint8 quorum = registry.quorum(laneOf(words));
        assert(quorum != 0);
        assert(quorum <= signers.length);
        assert(signers.length == signatures.length);
        assertRecorded(root, caller, time, signers.length);
        for (uint256 i = 0; i < signers.length; ++i) {
            assert(signers[i] > (i == 0 ? address(0) : signers[i - 1]));
            assert(registry.hasRole(registry.CONFIRMER_ROLE(), signers[i]));
        }
    }

    /// @dev The lane of every word, each after the one before.
    function laneOf(Word[] memory words) private pure returns (uint8) {
        uint64 lane = words[0].index >> 48;
        assert(lane < 32);
        for (uint256 i = 0; i < words.length; ++i) {
            assert(words[i].index >> 48 == lane);
            assert(words[i].mask != 0);
            assert(words[i].root != 0);
            if (i != 0) assert(words[i].index > words[i - 1].index);
        }
        return uint8(lane);
    }

    function assertRecorded(bytes32 root, address submitter, uint64 time, uint256 approvals) private view {
        Batch memory batch = registry.batch(root);
        assert(root != 0);
        assert(batch.submitter == submitter);
        assert(batch.confirmedAt == uint48(time));
        assert(batch.approvals == approvals);
        assert(batch.format == 1);
    }
}
