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

/// @notice Jobs of one word that are revoked together.
/// @param index The tickets' upper 56 bits: `ticket >> 8`.
/// @param mask The jobs of the word: bit `ticket & 255` is set for each.
struct Revocation {
    uint64 index;
    uint256 mask;
}

/// @notice Shows that a job's leaf is part of a batch.
/// @param word The siblings in the word tree, from the leaf up; each is left or right by the ticket's bits.
/// @param mask The mask with which the word was confirmed.
/// @param batch The siblings in the batch tree, from the word up; empty for a batch of one word.
struct Proof {
    bytes32[8] word;
    uint256 mask;
    bytes32[] batch;
}

/// @notice What the registry keeps of a batch, in one storage slot.
/// @param submitter The account that sent the batch. Signatures are good for anyone who sees them, so of a signed batch
/// it may be one that came before its author.
/// @param confirmedAt Time of the confirming block, in Unix seconds.
/// @param jobs How many jobs it confirms.
/// @param approvals How many confirmers the sender has shown: 1, or as many signers, no fewer than the quorum that the
/// lane had. More may have signed, and whoever sends the batch first may leave them out: nobody can rely on more than
/// the quorum here.
/// @param format Version of leaf, word tree and batch tree; 0 for a batch that is not known.
struct Batch {
    address submitter;
    uint48 confirmedAt;
    uint32 jobs;
    uint8 approvals;
    uint8 format;
}

/// @title Registry of confirmed jobs, interface version 1
/// @notice Every job holds a ticket, one bit of the registry's storage. Confirming a job spends its ticket, once and
/// for ever; the batch's Merkle root binds what the job was. At most one leaf can ever verify for a ticket.
///
/// The upper 8 bits of a ticket are its lane, which says who must stand behind a confirmation: in lane 0 one confirmer,
/// in the lanes 1 to 31 as many as the lane's quorum; a lane whose quorum is 0 is closed, and so are all from 32.
///
/// This interface is frozen, and its ERC-165 id with it: what later registries can do besides comes in interfaces that
/// extend it. A contract that only consumes confirmations wants {JobReceipts}, which asks the right questions.
/// @dev Roles and pause are OpenZeppelin's: `AccessControlDefaultAdminRules` (its `AccessControlUnauthorizedAccount`
/// stands below for "the caller lacks the role") and `Pausable` (`EnforcedPause`, `ExpectedPause`).
interface IJobRegistry is IERC5267 {
    /// @notice A batch was confirmed and the tickets in its masks are spent.
    /// @param root Root of the batch tree: the batch's id.
    /// @param submitter The account that sent the batch; of a signed one, whoever came first.
    /// @param lane Upper 8 bits of every ticket of the batch.
    /// @param jobs How many jobs it confirms.
    /// @param approvals How many confirmers the sender has shown: 1, or as many signers, no fewer than the quorum. Others
    /// may have signed too.
    /// @param words The batch as it was submitted.
    event BatchConfirmed(
        bytes32 indexed root,
        address indexed submitter,
        uint8 indexed lane,
        uint32 jobs,
        uint8 approvals,
        Word[] words
    );

    /// @notice Jobs were revoked: their tickets stay spent, and they no longer verify.
    /// @dev A job may be named by several of these events; the first one revoked it.
    /// @param revoker The account that revoked.
    /// @param reason What the revoker gave as reason: a short text or the hash of a document.
    /// @param words The revoked jobs.
    event JobsRevoked(address indexed revoker, bytes32 indexed reason, Revocation[] words);

    /// @notice The quorum of a lane was set.
    /// @param lane 1 to 31.
    /// @param previous The quorum until now.
    /// @param quorum The quorum from now on; 0: the lane is closed.
    event QuorumSet(uint8 indexed lane, uint8 previous, uint8 quorum);

    /// @notice Tickets of a word are spent already; nothing of the batch was confirmed.
    /// @param word Index of the word.
    /// @param overlap The spent tickets among those of the batch, as a mask.
    error AlreadyConfirmed(uint64 word, uint256 overlap);

    /// @notice Tickets of a word are not confirmed, so nothing was revoked.
    /// @param word Index of the word.
    /// @param missing The unconfirmed tickets among those to revoke, as a mask.
    error NotConfirmed(uint64 word, uint256 missing);

    /// @notice A call takes at least one word and at most `most`.
    error WordCountOutOfRange(uint256 count, uint256 most);

    /// @notice The words of a batch are in strictly ascending order of their index.
    error WordsNotAscending(uint64 previous, uint64 word);

    /// @notice The first and the last word of a batch lie in the same lane.
    /// @param first `index >> 48` of the first word.
    /// @param last `index >> 48` of the last word.
    error LanesDiffer(uint64 first, uint64 last);

    /// @notice No batch can be confirmed in this lane: its quorum is 0, or it is none of the lanes 0 to 31.
    /// @param lane `index >> 48` of the batch's words; a ticket has a lane below 256.
    error LaneClosed(uint64 lane);

    /// @notice A quorum can be set for the lanes 1 to 31 only.
    error LaneWithoutQuorum(uint8 lane);

    /// @notice Fewer confirmers stand behind the batch than its lane asks for.
    error QuorumNotReached(uint8 lane, uint256 approvals, uint8 quorum);

    /// @notice A word names at least one job.
    error EmptyMask(uint64 word);

    /// @notice The root of a word that holds a job is never zero.
    error EmptyRoot(uint64 word);

    /// @notice The deadline that the signers gave has passed.
    /// @param deadline The last second, in Unix time, at which the batch could have been confirmed.
    error DeadlinePassed(uint256 deadline);

    /// @notice Each signer has one signature.
    error SignatureCountMismatch(uint256 signers, uint256 signatures);

    /// @notice A batch takes at most `most` signers.
    error TooManySigners(uint256 count, uint256 most);

    /// @notice The signers are in strictly ascending order of their addresses, none of them zero.
    error SignersNotAscending(address previous, address signer);

    /// @notice The signature is not this signer's over this batch and deadline.
    error InvalidSignature(address signer);

    /// @notice Confirms the jobs of a batch on the word of the caller alone: in lane 0, or where the quorum is 1.
    /// Only for CONFIRMER_ROLE, only while not paused.
    /// @dev All or nothing. Reverts with `EnforcedPause`, `AccessControlUnauthorizedAccount`, `WordCountOutOfRange`,
    /// `LanesDiffer`, `LaneClosed`, `QuorumNotReached`, `WordsNotAscending`, `EmptyMask`, `EmptyRoot` or
    /// `AlreadyConfirmed`.
    /// @param words 1 to 512 words of one lane, strictly ascending by index, each with a mask and a root that are not
    /// zero.
    /// @return root Root of the batch tree: the batch's id.
    function confirmBatch(Word[] calldata words) external returns (bytes32 root);

    /// @notice Confirms the jobs of a batch that its confirmers have signed, as many as the lane's quorum or more.
    /// Anyone may call, while not paused.
    /// @dev All or nothing. Each signature is over `approvalDigest(root, deadline)`: of 65 bytes (r, s, v), or, where
    /// the signer has code, whatever its ERC-1271 `isValidSignature` accepts. Reverts as `confirmBatch` does, and with
    /// `DeadlinePassed`, `SignatureCountMismatch`, `TooManySigners`, `SignersNotAscending`, `InvalidSignature`, or
    /// `AccessControlUnauthorizedAccount` for a signer without CONFIRMER_ROLE.
    /// @param words As for `confirmBatch`.
    /// @param deadline The last second, in Unix time, at which the batch may be confirmed.
    /// @param signers Confirmers in strictly ascending order of their addresses, at most 255.
    /// @param signatures One for each signer, in the same order.
    /// @return root Root of the batch tree: the batch's id.
    function confirmBatchWithSignatures(
        Word[] calldata words,
        uint256 deadline,
        address[] calldata signers,
        bytes[] calldata signatures
    ) external returns (bytes32 root);

    /// @notice Revokes confirmed jobs: `verify` and `isConfirmed` answer false from now on, and their tickets stay
    /// spent. Revoking a job again changes nothing. Only for REVOKER_ROLE, also while paused.
    /// @dev All or nothing. Reverts with `AccessControlUnauthorizedAccount`, `WordCountOutOfRange`, `EmptyMask` or
    /// `NotConfirmed`.
    /// @param words 1 to 512 words in any order and of any lane, each with a mask of confirmed tickets.
    /// @param reason A short text or the hash of a document, for the event.
    function revoke(Revocation[] calldata words, bytes32 reason) external;

    /// @notice Sets how many confirmers a batch of a lane needs; 0 closes the lane. Only for DEFAULT_ADMIN_ROLE.
    /// @dev Reverts with `AccessControlUnauthorizedAccount` or `LaneWithoutQuorum`. The registry does not count its
    /// confirmers: a quorum above their number closes the lane as 0 does.
    /// @param lane 1 to 31.
    /// @param k The quorum.
    function setQuorum(uint8 lane, uint8 k) external;

    /// @notice Stops confirming; reading and revoking go on. Only for PAUSER_ROLE.
    /// @dev Reverts with `AccessControlUnauthorizedAccount`, or with `EnforcedPause` if paused.
    function pause() external;

    /// @notice Lets confirming go on. Only for DEFAULT_ADMIN_ROLE.
    /// @dev Reverts with `AccessControlUnauthorizedAccount`, or with `ExpectedPause` if not paused.
    function unpause() external;

    /// @notice Whether exactly this job is confirmed and not revoked: the one check a consumer needs.
    /// @dev Anyone may call. A proof that does not fit is answered with false; only arguments that do not decode
    /// revert.
    /// @param job The six fields of the job.
    /// @param proof The way from its leaf to a confirmed batch.
    function verify(JobConfirmation calldata job, Proof calldata proof) external view returns (bool);

    /// @notice Whether some job is confirmed, and not revoked, under this ticket. Anyone may call.
    function isConfirmed(uint64 ticket) external view returns (bool);

    /// @notice Whether the job under this ticket was revoked. Anyone may call.
    function isRevoked(uint64 ticket) external view returns (bool);

    /// @notice How many confirmers a batch of a lane needs; 0 if the lane is closed. Anyone may call.
    function quorum(uint8 lane) external view returns (uint8);

    /// @notice What is kept of the batch with this root; all zero if there is none. Anyone may call.
    function batch(bytes32 root) external view returns (Batch memory);

    /// @notice The spent and the revoked tickets of a word, as masks. Anyone may call.
    /// @param index `ticket >> 8`.
    function word(uint64 index) external view returns (uint256 confirmed, uint256 revoked);

    /// @notice The leaf of a job: the EIP-712 digest of `job` in this registry's domain. Anyone may call.
    function leafOf(JobConfirmation calldata job) external view returns (bytes32);

    /// @notice What a confirmer signs to approve a batch: the EIP-712 digest of `ConfirmBatch(bytes32 root,uint256
    /// deadline)` in this registry's domain. Anyone may call.
    /// @param root Root of the batch tree.
    /// @param deadline The last second, in Unix time, at which the batch may be confirmed.
    function approvalDigest(bytes32 root, uint256 deadline) external view returns (bytes32);

    /// @notice The semantic version of the implementation behind the registry. Anyone may call.
    function version() external view returns (string memory);
}
