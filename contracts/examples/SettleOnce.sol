// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.20;

import {Expected, JobReceipts} from "../consumer/JobReceipts.sol";
import {IJobRegistry, JobConfirmation, Proof} from "../interfaces/IJobRegistry.sol";

/// @title One job, settled once
/// @notice The shortest consumer there is.
contract SettleOnce {
    using JobReceipts for IJobRegistry;

    uint8 private constant LANE = 1; // this job needs the quorum of lane 1
    IJobRegistry private immutable REGISTRY; // the only one whose word counts
    Expected private order;

    /// @notice The ordered job is confirmed.
    /// @param outputHash SHA-256 of its output.
    event Settled(uint64 indexed ticket, bytes32 outputHash);

    /// @notice Orders the job with this ticket and input.
    /// @dev Reverts with the errors of `JobReceipts.checkExpected`.
    constructor(IJobRegistry registry, uint64 ticket, bytes32 inputHash) {
        REGISTRY = registry;
        order = Expected({ticket: ticket, inputHash: inputHash});
        JobReceipts.checkExpected(LANE, order);
    }

    /// @notice Settles the order against the job's receipt. Anyone may call, once.
    /// @dev Reverts with the errors of `JobReceipts.confirmedOutput`; with `InputHashMissing` once settled.
    function settle(JobConfirmation calldata job, Proof calldata proof) external {
        Expected memory expected = order;
        delete order; // what is not ordered is met by no job
        bytes32 outputHash = REGISTRY.confirmedOutput(LANE, expected, job, proof);
        emit Settled(job.ticket, outputHash); // or pay, mint, release: in this transaction
    }
}
