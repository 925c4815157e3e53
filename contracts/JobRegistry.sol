// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {Batch, IJobRegistry, JobConfirmation, Proof, Word} from "./interfaces/IJobRegistry.sol";
import {BatchTree} from "./libraries/BatchTree.sol";
import {BitCount} from "./libraries/BitCount.sol";
import {JobLeaf} from "./libraries/JobLeaf.sol";
import {WordTree} from "./libraries/WordTree.sol";
import {
    AccessControlDefaultAdminRulesUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/extensions/AccessControlDefaultAdminRulesUpgradeable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts-upgradeable/proxy/utils/UUPSUpgradeable.sol";
import {PausableUpgradeable} from "@openzeppelin/contracts-upgradeable/utils/PausableUpgradeable.sol";

/// @title Registry of confirmed jobs
/// @notice See {IJobRegistry}. Lives behind an ERC-1967 proxy and is upgraded by UPGRADER_ROLE (UUPS).
contract JobRegistry is
    IJobRegistry,
    AccessControlDefaultAdminRulesUpgradeable,
    PausableUpgradeable,
    UUPSUpgradeable
{
    /// @notice May confirm batches.
    bytes32 public constant CONFIRMER_ROLE = keccak256("CONFIRMER_ROLE");
    /// @notice May stop confirming; only the default admin lets it go on.
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");
    /// @notice May revoke confirmed jobs.
    bytes32 public constant REVOKER_ROLE = keccak256("REVOKER_ROLE");
    /// @notice May replace the implementation.
    bytes32 public constant UPGRADER_ROLE = keccak256("UPGRADER_ROLE");

    /// @dev Keeps the largest batch within the transaction gas cap of EIP-7825 (2^24), which 640 words would reach.
    uint256 private constant MAX_WORDS = 512;

    /// @dev The format of leaf and trees that this contract builds and verifies.
    uint8 private constant FORMAT_1 = 1;

    /// @dev Lane 0 needs one confirmer and no signatures.
    uint8 private constant STANDARD_LANE = 0;
    uint8 private constant LANE_SHIFT = 48;

    /// @custom:storage-location erc7201:jobseal.storage.JobRegistry
    struct RegistryStorage {
        /// Spent tickets, a bit each, by word index. Never cleared.
        mapping(uint256 word => uint256 bits) confirmed;
        /// Revoked tickets, a bit each, by word index.
        mapping(uint256 word => uint256 bits) revoked;
        mapping(bytes32 root => Batch) batches;
        /// How many confirmers a batch needs, a byte for each of the lanes 1 to 31; 0: the lane is closed.
        uint256 quorums;
    }

    /// @dev keccak256(abi.encode(uint256(keccak256("jobseal.storage.JobRegistry")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant STORAGE_SLOT =
        0x49c8d1d90ad89b0d725bb2cddaa532dd3209227f3ade3736d86fac2de98ab200;

    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor() {
        _disableInitializers();
    }

    /// @inheritdoc IJobRegistry
    function initialize(address admin, uint48 adminDelay, address[] calldata confirmers, address pauser)
        external
        initializer
    {
        if (confirmers.length == 0) revert NoConfirmers();
        __AccessControlDefaultAdminRules_init(adminDelay, admin);
        __Pausable_init();
        __UUPSUpgradeable_init();

        _grantRole(REVOKER_ROLE, admin);
        _grantRole(UPGRADER_ROLE, admin);
        _grantInitialRole(PAUSER_ROLE, pauser);
        for (uint256 i = 0; i < confirmers.length; ++i) {
            _grantInitialRole(CONFIRMER_ROLE, confirmers[i]);
        }
    }

    /// @inheritdoc IJobRegistry
    function confirmBatch(Word[] calldata words)
        external
        whenNotPaused
        onlyRole(CONFIRMER_ROLE)
        returns (bytes32 root)
    {
        if (words.length == 0 || words.length > MAX_WORDS) {
            revert WordCountOutOfRange(words.length, MAX_WORDS);
        }

        RegistryStorage storage $ = _registryStorage();
        uint32 jobs;
        (root, jobs) = _spend($, words);

        uint8 approvals = 1;
        _record($.batches[root], jobs, approvals);
        emit BatchConfirmed(root, msg.sender, STANDARD_LANE, jobs, approvals, words);
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

    /// @notice The EIP-712 domain of the leaves (EIP-5267).
    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        )
    {
        return (
            hex"0f", // name, version, chainId and verifyingContract are used
            JobLeaf.DOMAIN_NAME,
            JobLeaf.DOMAIN_VERSION,
            block.chainid,
            address(this),
            bytes32(0),
            new uint256[](0)
        );
    }

    /// @dev Spends the tickets of `words` and builds the batch tree over exactly what was spent, so that a proof of
    /// a mask is a proof of spent tickets.
    function _spend(RegistryStorage storage $, Word[] calldata words)
        private
        returns (bytes32 root, uint32 jobs)
    {
        bytes32[] memory leaves = new bytes32[](words.length);
        uint256 count;
        uint64 previous;
        for (uint256 i = 0; i < words.length; ++i) {
            Word calldata entry = words[i];
            (uint64 index, uint256 mask, bytes32 wordRoot) = (entry.index, entry.mask, entry.root);
            if (index >> LANE_SHIFT != STANDARD_LANE) revert LaneClosed(index >> LANE_SHIFT);
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

    /// @dev Fills the batch's slot in one write; an assignment of the struct would write it once a member.
    function _record(Batch storage record, uint32 jobs, uint8 approvals) private {
        uint256 packed = uint256(uint160(msg.sender)) | uint256(uint48(block.timestamp)) << 160
            | uint256(jobs) << 208 | uint256(approvals) << 240 | uint256(FORMAT_1) << 248;
        assembly ("memory-safe") {
            sstore(record.slot, packed)
        }
    }

    function _grantInitialRole(bytes32 role, address account) private {
        if (account == address(0)) revert ZeroAddress(role);
        _grantRole(role, account);
    }

    /// @dev The word that holds the ticket's bit, and the bit's position in it.
    function _place(uint64 ticket) private pure returns (uint64 index, uint256 position) {
        return (ticket >> 8, ticket & 255);
    }

    function _isSet(uint256 bits, uint256 position) private pure returns (bool) {
        return (bits >> position) & 1 == 1;
    }

    function _registryStorage() private pure returns (RegistryStorage storage $) {
        assembly {
            $.slot := STORAGE_SLOT
        }
    }

    function _authorizeUpgrade(address) internal override onlyRole(UPGRADER_ROLE) {}
}
