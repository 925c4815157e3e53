// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.20;

import {IJobRegistry, JobConfirmation, Proof} from "../interfaces/IJobRegistry.sol";

/// @notice What a consumer expects of a job. It comes from the consumer's own state, written before anybody showed a
/// receipt: filled from the receipt, it would expect whatever is shown.
/// @param ticket The job's identity on chain.
/// @param inputHash SHA-256 of the job's kind and input in canonical JSON (RFC 8785): the work that was ordered. Never
/// zero.
struct Expected {
    uint64 ticket;
    bytes32 inputHash;
}

/// @title The check that a contract makes before it acts on a job
/// @notice To be used as `using JobReceipts for IJobRegistry`, on a registry that the consumer has fixed, as a constant
/// or at construction; a registry that comes with the receipt says yes to everything.
///
/// Nothing can be left out: the lane is an argument of every check, the input is expected together with the ticket, and an
/// order that was never written, or was deleted, is all zero and met by no job. `jobId` cannot be expected at all, because a dishonest
/// confirmer can repeat it under any ticket.
///
/// There is no form that returns a boolean, which could be dropped, and nothing is remembered, since a job may be
/// revoked at any time: the check belongs into the transaction that acts on it.
library JobReceipts {
    /// @notice No input is expected: the order is unknown, settled or incomplete.
    error InputHashMissing(uint64 ticket);

    /// @notice The expected ticket lies in another lane than the one insisted on.
    error LaneMismatch(uint64 ticket, uint8 lane, uint8 insisted);

    /// @notice The receipt is that of another ticket.
    error TicketMismatch(uint64 expected, uint64 shown);

    /// @notice The receipt is that of another input.
    error InputMismatch(bytes32 expected, bytes32 shown);

    /// @notice The registry does not confirm this job: it never did, revoked it, or the proof does not fit.
    error JobNotConfirmed(uint64 ticket);

    /// @notice The output of the expected job, if the registry confirms it now.
    /// @dev Reverts with `InputHashMissing`, `LaneMismatch`, `TicketMismatch`, `InputMismatch` or `JobNotConfirmed`,
    /// the first that applies; without data where no contract stands at `registry`. It sees the head of the chain: what
    /// a consumer does upon it falls with a reorganisation together with the confirmation.
    /// @param registry The consumer's own registry, never one that comes with the receipt.
    /// @param lane The lane that the consumer insists on, for what is at stake: a constant of the consumer, never read off
    /// the ticket. In lane 0 a single confirmer is enough to confirm anything.
    /// @param expected What the consumer has ordered.
    /// @param job The six fields of the job, as the receipt shows them.
    /// @param proof The receipt's proof.
    /// @return outputHash SHA-256 of the output's bytes.
    function confirmedOutput(
        IJobRegistry registry,
        uint8 lane,
        Expected memory expected,
        JobConfirmation calldata job,
        Proof calldata proof
    ) internal view returns (bytes32 outputHash) {
        checkExpected(lane, expected);
        if (job.ticket != expected.ticket) revert TicketMismatch(expected.ticket, job.ticket);
        if (job.inputHash != expected.inputHash) revert InputMismatch(expected.inputHash, job.inputHash);
        if (!registry.verify(job, proof)) revert JobNotConfirmed(job.ticket);
        return job.outputHash;
    }

    /// @notice Refuses what no receipt can ever meet; for the door, where a consumer takes an order.
    /// @dev Reverts with `InputHashMissing` or `LaneMismatch`, as `confirmedOutput` would.
    function checkExpected(uint8 lane, Expected memory expected) internal pure {
        if (expected.inputHash == 0) revert InputHashMissing(expected.ticket);
        uint8 actual = laneOf(expected.ticket);
        if (actual != lane) revert LaneMismatch(expected.ticket, actual, lane);
    }

    /// @notice The lane of a ticket: its upper 8 bits.
    function laneOf(uint64 ticket) internal pure returns (uint8) {
        // Of 64 bits, 8 are left.
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint8(ticket >> 56);
    }
}
