// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {Batch, Proof, Word} from "contracts/interfaces/IJobRegistry.sol";
import {BatchTree} from "contracts/libraries/BatchTree.sol";
import {BitCount} from "contracts/libraries/BitCount.sol";
import {RegistryDomain} from "contracts/libraries/RegistryDomain.sol";
import {WordTree} from "contracts/libraries/WordTree.sol";

/// @notice What format 2 confirms about one job: the fields of format 1, and what made the output.
/// @param handlerHash SHA-256 of the handler's code.
struct JobConfirmationV2 {
    uint64 ticket;
    bytes16 jobId;
    bytes32 inputHash;
    bytes32 outputHash;
    bytes32 handlerHash;
    uint64 completedAt;
    bytes32 salt;
}

/// @title A successor of the registry, for the tests of upgrades
/// @notice It does what a successor may want to: brings state of its own, has it set by a migration, and confirms a
/// second format of leaves, in lane 0, beside the first.
/// @dev It inherits its initialiser, which is external and which the checker of upgrades therefore misses.
/// @custom:oz-upgrades-unsafe-allow missing-initializer
contract JobRegistryV2 is JobRegistry {
    uint8 private constant FORMAT_2 = 2;

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant TYPEHASH = keccak256(
        "JobConfirmation(uint64 ticket,bytes16 jobId,bytes32 inputHash,bytes32 outputHash,bytes32 handlerHash,uint64 completedAt,bytes32 salt)"
    );

    /// @custom:storage-location erc7201:jobseal.storage.JobRegistryV2
    struct RegistryV2Storage {
        /// How many words a batch of format 2 may have; 0 before the migration: it is closed.
        uint16 maxWords;
    }

    /// @dev keccak256(abi.encode(uint256(keccak256("jobseal.storage.JobRegistryV2")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant V2_STORAGE_SLOT =
        0x0c61cc6ada5fe0e1cd404e1e1e81583e1c9ef675329f2195c152e4919b81e900;

    /// @notice Format 2 starts with room for a word.
    error NoWords();

    /// @notice Opens format 2. Only for UPGRADER_ROLE, once; `upgradeToAndCall` does it together with the upgrade.
    function migrate(uint16 maxWords_) external onlyRole(UPGRADER_ROLE) reinitializer(2) {
        if (maxWords_ == 0) revert NoWords();
        _v2Storage().maxWords = maxWords_;
    }

    /// @notice Confirms the jobs of a batch of format 2, as `confirmBatch` does those of format 1.
    function confirmBatchV2(Word[] calldata words)
        external
        whenNotPaused
        onlyRole(CONFIRMER_ROLE)
        returns (bytes32 root)
    {
        uint256 most = _v2Storage().maxWords;
        if (words.length == 0 || words.length > most) revert WordCountOutOfRange(words.length, most);

        bytes32[] memory leaves = new bytes32[](words.length);
        uint32 jobs;
        for (uint256 i = 0; i < words.length; ++i) {
            if (i != 0 && words[i].index <= words[i - 1].index) {
                revert WordsNotAscending(words[i - 1].index, words[i].index);
            }
            jobs += _spendWord(words[i]);
            leaves[i] = BatchTree.leaf(words[i].index, words[i].mask, words[i].root);
        }
        root = BatchTree.rootOf(leaves);
        // Good until the year 8,921,556.
        // forge-lint: disable-next-line(unsafe-typecast)
        _registryStorage().batches[root] = Batch(msg.sender, uint48(block.timestamp), jobs, 1, FORMAT_2);
        emit BatchConfirmed(root, msg.sender, 0, jobs, 1, words);
    }

    /// @notice Whether exactly this job is confirmed in format 2 and not revoked.
    function verify(JobConfirmationV2 calldata job, Proof calldata proof) external view returns (bool) {
        (uint64 index, uint256 position) = (job.ticket >> 8, job.ticket & 255);
        if ((proof.mask >> position) & 1 == 0) return false;

        bytes32 wordRoot = WordTree.rootOf(_leaf(job), position, proof.word);
        bytes32 root = BatchTree.rootOf(BatchTree.leaf(index, proof.mask, wordRoot), proof.batch);

        RegistryStorage storage $ = _registryStorage();
        return $.batches[root].format == FORMAT_2 && ($.revoked[index] >> position) & 1 == 0;
    }

    /// @notice The leaf of a job in format 2.
    function leafOf(JobConfirmationV2 calldata job) external view returns (bytes32) {
        return _leaf(job);
    }

    /// @notice How many words a batch of format 2 may have.
    function maxWords() external view returns (uint256) {
        return _v2Storage().maxWords;
    }

    /// @inheritdoc JobRegistry
    function version() external pure override returns (string memory) {
        return "2.0.0";
    }

    /// @dev Returns how many tickets it spent.
    function _spendWord(Word calldata entry) private returns (uint32) {
        (uint64 index, uint256 mask) = (entry.index, entry.mask);
        if (index >> 48 != 0) revert LaneClosed(index >> 48);
        if (mask == 0) revert EmptyMask(index);
        if (entry.root == 0) revert EmptyRoot(index);

        RegistryStorage storage $ = _registryStorage();
        uint256 overlap = $.confirmed[index] & mask;
        if (overlap != 0) revert AlreadyConfirmed(index, overlap);
        $.confirmed[index] |= mask;
        // At most 256.
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint32(BitCount.ones(mask));
    }

    /// @dev In a domain of its own version, so that nothing signed or hashed for format 1 means anything here.
    function _leaf(JobConfirmationV2 calldata job) private view returns (bytes32) {
        bytes32 separator = keccak256(
            abi.encode(
                DOMAIN_TYPEHASH,
                keccak256(bytes(RegistryDomain.NAME)),
                keccak256("2"),
                block.chainid,
                address(this)
            )
        );
        return MessageHashUtils.toTypedDataHash(separator, keccak256(abi.encode(TYPEHASH, job)));
    }

    function _v2Storage() private pure returns (RegistryV2Storage storage $) {
        assembly {
            $.slot := V2_STORAGE_SLOT
        }
    }
}
