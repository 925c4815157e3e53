// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.20;

import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";

/// @notice What is confirmed about one job. Its EIP-712 digest in the registry's domain is the job's leaf.
/// @param ticket The job's identity on chain: 8 bits lane, 48 bits word within the lane, 8 bits position in the word.
/// @param jobId UUID of the job on the platform, as raw bytes. Informative: key on `ticket`.
/// @param inputHash SHA-256 of the job's kind and input in canonical JSON (RFC 8785).
/// @param outputHash SHA-256 of the output's bytes.
/// @param completedAt When the job was completed, in Unix seconds.
/// @param salt 32 random bytes of this job alone, so that nobody can guess the leaf's content.
struct JobConfirmation {
    uint64 ticket;
    bytes16 jobId;
    bytes32 inputHash;
    bytes32 outputHash;
    uint64 completedAt;
    bytes32 salt;
}

/// @notice Up to 256 jobs with neighbouring tickets that are confirmed together.
/// @param index The tickets' upper 56 bits: `ticket >> 8`.
/// @param mask The jobs of the word: bit `ticket & 255` is set for each.
/// @param root Root of the word tree: 256 positions, the leaf of a job at position `ticket & 255`, zero elsewhere.
struct Word {
    uint64 index;
    uint256 mask;
    bytes32 root;
}

/// @notice Shows that a job's leaf is part of a batch.
/// @param word The siblings in the word tree, from the leaves up; each is left or right by the ticket's bits.
/// @param mask The mask with which the word was confirmed.
/// @param batch The siblings in the batch tree, from the words up; empty for a batch of one word.
struct Proof {
    bytes32[8] word;
    uint256 mask;
    bytes32[] batch;
}

/// @notice What the registry keeps of a batch, in one storage slot.
/// @param submitter The account that sent the batch.
/// @param confirmedAt Time of the confirming block, in Unix seconds.
/// @param jobs How many jobs it confirms.
/// @param approvals How many confirmers stood behind it.
/// @param format Version of leaf, word tree and batch tree; 0 for a batch that is not known.
struct Batch {
    address submitter;
    uint48 confirmedAt;
    uint32 jobs;
    uint8 approvals;
    uint8 format;
}

/// @title Registry of confirmed jobs
/// @notice Every job holds a ticket, one bit of this contract's storage. Confirming a job spends its ticket, once
/// and for ever; the batch's Merkle root binds what the job was. At most one leaf can ever verify for a ticket.
interface IJobRegistry is IERC5267 {
    /// @notice A batch was confirmed and the tickets in its masks are spent.
    /// @param root Root of the batch tree: the batch's id.
    /// @param submitter The account that sent the batch.
    /// @param lane Upper 8 bits of every ticket of the batch.
    /// @param jobs How many jobs it confirms.
    /// @param approvals How many confirmers stood behind it.
    /// @param words The batch as it was submitted.
    event BatchConfirmed(
        bytes32 indexed root,
        address indexed submitter,
        uint8 indexed lane,
        uint32 jobs,
        uint8 approvals,
        Word[] words
    );

    /// @notice Tickets of a word are spent already; nothing of the batch was confirmed.
    /// @param word Index of the word.
    /// @param overlap The spent tickets among those of the batch, as a mask.
    error AlreadyConfirmed(uint64 word, uint256 overlap);

    /// @notice A batch has at least one word and at most `most`.
    error WordCountOutOfRange(uint256 count, uint256 most);

    /// @notice The words of a batch are in strictly ascending order of their index.
    error WordsNotAscending(uint64 previous, uint64 word);

    /// @notice No batch can be confirmed in this lane.
    /// @param lane `index >> 48` of the refused word; a real lane is below 256.
    error LaneClosed(uint64 lane);

    /// @notice A word confirms at least one job.
    error EmptyMask(uint64 word);

    /// @notice The root of a word that holds a job is never zero.
    error EmptyRoot(uint64 word);

    /// @notice The zero address cannot hold a role.
    error ZeroAddress(bytes32 role);

    /// @notice A registry starts with at least one confirmer.
    error NoConfirmers();

    /// @notice Sets up the registry behind its proxy. Anyone may call, once; the deployment does it atomically.
    /// @dev Reverts with `InvalidInitialization` when called again or on the implementation itself, with
    /// `AccessControlInvalidDefaultAdmin`, `ZeroAddress` or `NoConfirmers` for a missing account.
    /// @param admin Becomes default admin, revoker and upgrader.
    /// @param adminDelay Seconds that a transfer of the default admin has to wait before it can be accepted.
    /// @param confirmers Become confirmers.
    /// @param pauser Becomes pauser.
    function initialize(address admin, uint48 adminDelay, address[] calldata confirmers, address pauser)
        external;

    /// @notice Confirms the jobs of a batch in lane 0. Only for CONFIRMER_ROLE, only while not paused.
    /// @dev All or nothing. Reverts with `EnforcedPause`, `AccessControlUnauthorizedAccount`,
    /// `WordCountOutOfRange`, `LaneClosed`, `WordsNotAscending`, `EmptyMask`, `EmptyRoot` or `AlreadyConfirmed`.
    /// @param words 1 to 512 words, strictly ascending by index, each with a mask and a root that are not zero.
    /// @return root Root of the batch tree: the batch's id.
    function confirmBatch(Word[] calldata words) external returns (bytes32 root);

    /// @notice Stops `confirmBatch`; reading goes on. Only for PAUSER_ROLE; reverts with `EnforcedPause` if paused.
    function pause() external;

    /// @notice Lets `confirmBatch` go on. Only for DEFAULT_ADMIN_ROLE; reverts with `ExpectedPause` if not paused.
    function unpause() external;

    /// @notice Whether exactly this job is confirmed and not revoked: the one check a consumer needs.
    /// @dev Anyone may call. A proof that does not fit is answered with false; only arguments that do not decode
    /// revert.
    /// @param job The six fields of the job.
    /// @param proof The way from its leaf to a confirmed batch.
    function verify(JobConfirmation calldata job, Proof calldata proof) external view returns (bool);

    /// @notice Whether some job is confirmed, and not revoked, under this ticket. Anyone may call.
    function isConfirmed(uint64 ticket) external view returns (bool);

    /// @notice What is kept of the batch with this root; all zero if there is none. Anyone may call.
    function batch(bytes32 root) external view returns (Batch memory);

    /// @notice The spent and the revoked tickets of a word, as masks. Anyone may call.
    /// @param index `ticket >> 8`.
    function word(uint64 index) external view returns (uint256 confirmed, uint256 revoked);

    /// @notice The leaf of a job: the EIP-712 digest of `job` in this registry's domain. Anyone may call.
    function leafOf(JobConfirmation calldata job) external view returns (bytes32);
}
