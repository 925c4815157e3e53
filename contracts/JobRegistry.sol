// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {Batch, IJobRegistry, JobConfirmation, Proof, Revocation, Word} from "./interfaces/IJobRegistry.sol";
import {BatchApproval} from "./libraries/BatchApproval.sol";
import {BatchTree} from "./libraries/BatchTree.sol";
import {BitCount} from "./libraries/BitCount.sol";
import {JobLeaf} from "./libraries/JobLeaf.sol";
import {Quorums} from "./libraries/Quorums.sol";
import {RegistryDomain} from "./libraries/RegistryDomain.sol";
import {WordTree} from "./libraries/WordTree.sol";
import {
    AccessControlDefaultAdminRulesUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/extensions/AccessControlDefaultAdminRulesUpgradeable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts-upgradeable/proxy/utils/UUPSUpgradeable.sol";
import {PausableUpgradeable} from "@openzeppelin/contracts-upgradeable/utils/PausableUpgradeable.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title Registry of confirmed jobs
/// @notice See {IJobRegistry}. Lives behind an ERC-1967 proxy and is upgraded by UPGRADER_ROLE (UUPS).
contract JobRegistry is
    IJobRegistry,
    AccessControlDefaultAdminRulesUpgradeable,
    PausableUpgradeable,
    UUPSUpgradeable
{
    /// @notice Who holds which role from the start; whoever deploys gets none.
    /// @param admin Default admin: sets quorums, unpauses, and gives and takes the roles of confirmers, pausers and
    /// revokers.
    /// @param adminDelay Seconds that a transfer of the default admin has to wait before it can be accepted.
    /// @param upgrader Replaces the implementation, and alone decides who else may.
    /// @param revoker Revokes confirmed jobs.
    /// @param pauser Stops confirming.
    /// @param confirmers Confirm batches.
    struct Setup {
        address admin;
        uint48 adminDelay;
        address upgrader;
        address revoker;
        address pauser;
        address[] confirmers;
    }

    /// @notice May confirm batches.
    bytes32 public constant CONFIRMER_ROLE = keccak256("CONFIRMER_ROLE");
    /// @notice May stop confirming; only the default admin lets it go on.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");
    /// @notice May revoke confirmed jobs.
    bytes32 public constant REVOKER_ROLE = keccak256("REVOKER_ROLE");
    /// @notice May replace the implementation. Given and taken by its holders alone: were it the default admin's to
    /// give, a timelock that holds it would bind nobody.
    bytes32 public constant UPGRADER_ROLE = keccak256("UPGRADER_ROLE");

    /// @dev Keeps the largest batch within the transaction gas cap of EIP-7825 (2^24), which 640 words would reach.
    uint256 private constant MAX_WORDS = 512;

    /// @dev What fits the event and the batch's slot.
    uint256 private constant MAX_SIGNERS = type(uint8).max;

    /// @dev The format of leaf and trees that this contract builds and verifies.
    uint8 private constant FORMAT_1 = 1;

    /// @dev Lane 0 needs one confirmer, whatever is stored.
    uint256 private constant STANDARD_LANE = 0;
    uint256 private constant LANES = 32;
    uint8 private constant LANE_SHIFT = 48;

    /// @custom:storage-location erc7201:jobseal.storage.JobRegistry
    struct RegistryStorage {
        /// Spent tickets, a bit each, by word index. Never cleared.
        mapping(uint256 word => uint256 bits) confirmed;
        /// Revoked tickets, a bit each, by word index. Never cleared.
        mapping(uint256 word => uint256 bits) revoked;
        mapping(bytes32 root => Batch) batches;
        /// How many confirmers a batch needs, a byte for each of the lanes 1 to 31; 0: the lane is closed.
        uint256 quorums;
    }

    /// @dev keccak256(abi.encode(uint256(keccak256("jobseal.storage.JobRegistry")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant STORAGE_SLOT =
        0x49c8d1d90ad89b0d725bb2cddaa532dd3209227f3ade3736d86fac2de98ab200;

    /// @notice The zero address cannot hold a role.
    error ZeroAddress(bytes32 role);

    /// @notice A registry starts with at least one confirmer.
    error NoConfirmers();

    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor() {
        _disableInitializers();
    }

    /// @notice Sets up the registry behind its proxy. Anyone may call, once; the deployment does it atomically.
    /// @dev Reverts with `InvalidInitialization` when called again or on the implementation itself, with
    /// `AccessControlInvalidDefaultAdmin`, `ZeroAddress` or `NoConfirmers` for a missing account.
    function initialize(Setup calldata setup) external initializer {
        if (setup.confirmers.length == 0) revert NoConfirmers();
        __AccessControlDefaultAdminRules_init(setup.adminDelay, setup.admin);
        __Pausable_init();
        __UUPSUpgradeable_init();

        _setRoleAdmin(UPGRADER_ROLE, UPGRADER_ROLE);
        _grantInitialRole(UPGRADER_ROLE, setup.upgrader);
        _grantInitialRole(REVOKER_ROLE, setup.revoker);
        _grantInitialRole(PAUSER_ROLE, setup.pauser);
        for (uint256 i = 0; i < setup.confirmers.length; ++i) {
            _grantInitialRole(CONFIRMER_ROLE, setup.confirmers[i]);
        }
    }

    /// @inheritdoc IJobRegistry
    function confirmBatch(Word[] calldata words)
        external
        whenNotPaused
        onlyRole(CONFIRMER_ROLE)
        returns (bytes32 root)
    {
        uint8 approvals = 1;
        uint8 lane = _openLane(words, approvals);

        uint32 jobs;
        (root, jobs) = _spend(words);
        _record(root, lane, jobs, approvals, words);
    }

    /// @inheritdoc IJobRegistry
    function confirmBatchWithSignatures(
        Word[] calldata words,
        uint256 deadline,
        address[] calldata signers,
        bytes[] calldata signatures
    ) external whenNotPaused returns (bytes32 root) {
        // The seconds by which a validator can shift the time decide nothing here.
        // slither-disable-next-line timestamp
        if (block.timestamp > deadline) revert DeadlinePassed(deadline); // forge-lint: disable-line(block-timestamp)
        if (signers.length > MAX_SIGNERS) revert TooManySigners(signers.length, MAX_SIGNERS);
        // forge-lint: disable-next-line(unsafe-typecast)
        uint8 approvals = uint8(signers.length);
        uint8 lane = _openLane(words, approvals);

        // Contract signers are asked by static calls, in which nothing can be done with what is half written.
        uint32 jobs;
        (root, jobs) = _spend(words);
        _checkSignatures(BatchApproval.digest(root, deadline), signers, signatures);
        _record(root, lane, jobs, approvals, words);
    }

    /// @inheritdoc IJobRegistry
    function revoke(Revocation[] calldata words, bytes32 reason) external onlyRole(REVOKER_ROLE) {
        _checkWordCount(words.length);
        RegistryStorage storage $ = _registryStorage();
        for (uint256 i = 0; i < words.length; ++i) {
            (uint64 index, uint256 mask) = (words[i].index, words[i].mask);
            if (mask == 0) revert EmptyMask(index);
            uint256 missing = mask & ~$.confirmed[index];
            if (missing != 0) revert NotConfirmed(index, missing);
            $.revoked[index] |= mask;
        }
        emit JobsRevoked(msg.sender, reason, words);
    }

    /// @inheritdoc IJobRegistry
    function setQuorum(uint8 lane, uint8 k) external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (lane == STANDARD_LANE || lane >= LANES) revert LaneWithoutQuorum(lane);
        RegistryStorage storage $ = _registryStorage();
        uint256 quorums = $.quorums;
        $.quorums = Quorums.set(quorums, lane, k);
        emit QuorumSet(lane, Quorums.get(quorums, lane), k);
    }

    /// @inheritdoc IJobRegistry
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    /// @inheritdoc IJobRegistry
    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        _unpause();
    }

    /// @inheritdoc IJobRegistry
    function verify(JobConfirmation calldata job, Proof calldata proof) external view returns (bool) {
        (uint64 index, uint256 position) = _place(job.ticket);
        // The tree may hold a leaf at a position that its mask leaves out; only the mask has spent tickets.
        if (!_isSet(proof.mask, position)) return false;

        bytes32 wordRoot = WordTree.rootOf(JobLeaf.hash(job), position, proof.word);
        bytes32 root = BatchTree.rootOf(BatchTree.leaf(index, proof.mask, wordRoot), proof.batch);

        RegistryStorage storage $ = _registryStorage();
        return $.batches[root].format == FORMAT_1 && !_isSet($.revoked[index], position);
    }

    /// @inheritdoc IJobRegistry
    function isConfirmed(uint64 ticket) external view returns (bool) {
        (uint64 index, uint256 position) = _place(ticket);
        RegistryStorage storage $ = _registryStorage();
        return _isSet($.confirmed[index] & ~$.revoked[index], position);
    }

    /// @inheritdoc IJobRegistry
    function isRevoked(uint64 ticket) external view returns (bool) {
        (uint64 index, uint256 position) = _place(ticket);
        return _isSet(_registryStorage().revoked[index], position);
    }

    /// @inheritdoc IJobRegistry
    function quorum(uint8 lane) external view returns (uint8) {
        return _quorum(lane);
    }

    /// @inheritdoc IJobRegistry
    function batch(bytes32 root) external view returns (Batch memory) {
        return _registryStorage().batches[root];
    }

    /// @inheritdoc IJobRegistry
    function word(uint64 index) external view returns (uint256 confirmed, uint256 revoked) {
        RegistryStorage storage $ = _registryStorage();
        return ($.confirmed[index], $.revoked[index]);
    }

    /// @inheritdoc IJobRegistry
    function leafOf(JobConfirmation calldata job) external view returns (bytes32) {
        return JobLeaf.hash(job);
    }

    /// @inheritdoc IJobRegistry
    function approvalDigest(bytes32 root, uint256 deadline) external view returns (bytes32) {
        return BatchApproval.digest(root, deadline);
    }

    /// @inheritdoc IJobRegistry
    function version() external pure virtual returns (string memory) {
        return "1.0.0";
    }

    /// @notice The EIP-712 domain of leaves and approvals (EIP-5267).
    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version_,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        )
    {
        return (
            hex"0f", // name, version, chainId and verifyingContract are used
            RegistryDomain.NAME,
            RegistryDomain.VERSION,
            block.chainid,
            address(this),
            bytes32(0),
            new uint256[](0)
        );
    }

    /// @notice Whether the registry has an interface, by its ERC-165 id.
    function supportsInterface(bytes4 interfaceId)
        public
        view
        override(AccessControlDefaultAdminRulesUpgradeable)
        returns (bool)
    {
        return interfaceId == type(IJobRegistry).interfaceId || super.supportsInterface(interfaceId);
    }

    /// @dev The lane of the whole batch, if `approvals` confirmers are enough for it. Lanes are compared in full width,
    /// first with last: with the words ascending, which `_spend` sees to, those between lie in no other.
    function _openLane(Word[] calldata words, uint8 approvals) private view returns (uint8) {
        _checkWordCount(words.length);
        uint64 lane = words[0].index >> LANE_SHIFT;
        uint64 last = words[words.length - 1].index >> LANE_SHIFT;
        if (lane != last) revert LanesDiffer(lane, last);

        uint8 needed = _quorum(lane);
        if (needed == 0) revert LaneClosed(lane);
        // A lane with a quorum is below 32.
        // forge-lint: disable-next-line(unsafe-typecast)
        if (approvals < needed) revert QuorumNotReached(uint8(lane), approvals, needed);
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint8(lane);
    }

    /// @dev How many confirmers a lane needs; 0 if it is closed. Lane 0 costs no storage read.
    function _quorum(uint256 lane) private view returns (uint8) {
        if (lane == STANDARD_LANE) return 1;
        return lane < LANES ? Quorums.get(_registryStorage().quorums, lane) : 0;
    }

    /// @dev Spends the tickets of `words` and builds the batch tree over exactly what was spent, so that a proof of
    /// a mask is a proof of spent tickets.
    function _spend(Word[] calldata words) private returns (bytes32 root, uint32 jobs) {
        RegistryStorage storage $ = _registryStorage();
        bytes32[] memory leaves = new bytes32[](words.length);
        uint256 count;
        uint64 previous;
        for (uint256 i = 0; i < words.length; ++i) {
            Word calldata entry = words[i];
            (uint64 index, uint256 mask, bytes32 wordRoot) = (entry.index, entry.mask, entry.root);
            if (index <= previous && i != 0) revert WordsNotAscending(previous, index);
            if (mask == 0) revert EmptyMask(index);
            if (wordRoot == 0) revert EmptyRoot(index);

            uint256 spent = $.confirmed[index];
            if (spent & mask != 0) revert AlreadyConfirmed(index, spent & mask);
            $.confirmed[index] = spent | mask;

            leaves[i] = BatchTree.leaf(index, mask, wordRoot);
            count += BitCount.ones(mask);
            previous = index;
        }
        // At most 512 words of 256 jobs: far below 2^32.
        // forge-lint: disable-next-line(unsafe-typecast)
        return (BatchTree.rootOf(leaves), uint32(count));
    }

    /// @dev Each of `signers` is a confirmer, comes once, and has signed `digest`.
    function _checkSignatures(bytes32 digest, address[] calldata signers, bytes[] calldata signatures)
        private
        view
    {
        if (signers.length != signatures.length) {
            revert SignatureCountMismatch(signers.length, signatures.length);
        }
        address previous;
        for (uint256 i = 0; i < signers.length; ++i) {
            address signer = signers[i];
            if (signer <= previous) revert SignersNotAscending(previous, signer);
            _checkRole(CONFIRMER_ROLE, signer);
            if (!SignatureChecker.isValidSignatureNow(signer, digest, signatures[i])) {
                revert InvalidSignature(signer);
            }
            previous = signer;
        }
    }

    /// @dev Fills the batch's slot in one write; an assignment of the struct would write it once a member.
    function _record(bytes32 root, uint8 lane, uint32 jobs, uint8 approvals, Word[] calldata words) private {
        Batch storage record = _registryStorage().batches[root];
        uint256 packed = uint256(uint160(msg.sender)) | uint256(uint48(block.timestamp)) << 160
            | uint256(jobs) << 208 | uint256(approvals) << 240 | uint256(FORMAT_1) << 248;
        assembly ("memory-safe") {
            sstore(record.slot, packed)
        }
        emit BatchConfirmed(root, msg.sender, lane, jobs, approvals, words);
    }

    function _grantInitialRole(bytes32 role, address account) private {
        if (account == address(0)) revert ZeroAddress(role);
        _grantRole(role, account);
    }

    function _checkWordCount(uint256 count) private pure {
        if (count == 0 || count > MAX_WORDS) revert WordCountOutOfRange(count, MAX_WORDS);
    }

    /// @dev The word that holds the ticket's bit, and the bit's position in it.
    function _place(uint64 ticket) private pure returns (uint64 index, uint256 position) {
        return (ticket >> 8, ticket & 255);
    }

    function _isSet(uint256 bits, uint256 position) private pure returns (bool) {
        return (bits >> position) & 1 == 1;
    }

    /// @dev Assembly is the only way to name the slot at which a struct lies.
    function _registryStorage() internal pure returns (RegistryStorage storage $) {
        assembly {
            $.slot := STORAGE_SLOT
        }
    }

    function _authorizeUpgrade(address) internal override onlyRole(UPGRADER_ROLE) {}
}
