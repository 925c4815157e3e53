// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ReferenceTree} from "./ReferenceTree.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {JobConfirmation, Proof, Word} from "contracts/interfaces/IJobRegistry.sol";
import {Test} from "forge-std/Test.sol";

/// @title A registry behind its proxy, and jobs to confirm in it
abstract contract RegistryTest is Test {
    uint48 internal constant ADMIN_DELAY = 1 days;
    uint64 internal constant LAST_INDEX = (1 << 48) - 1;
    uint64 internal constant FIRST_CRITICAL = 1 << 48;
    uint256 internal constant DENSE = type(uint256).max;

    /// @dev ERC-7201 slot of jobseal.storage.JobRegistry, worked out by the formula.
    uint256 internal immutable STORAGE_BASE = uint256(
        keccak256(abi.encode(uint256(keccak256("jobseal.storage.JobRegistry")) - 1))
    ) & ~uint256(0xff);

    address internal immutable ADMIN = makeAddr("admin");
    address internal immutable UPGRADER = makeAddr("upgrader");
    address internal immutable REVOKER = makeAddr("revoker");
    address internal immutable PAUSER = makeAddr("pauser");
    address internal immutable CONFIRMER = makeAddr("confirmer");
    address internal immutable OTHER_CONFIRMER = makeAddr("other confirmer");
    address internal immutable ANYONE = makeAddr("anyone");

    JobRegistry internal implementation;
    JobRegistry internal registry;

    function setUp() public virtual {
        vm.warp(1_750_000_000);
        implementation = new JobRegistry();
        registry = JobRegistry(address(new ERC1967Proxy(address(implementation), initialization())));
    }

    function initialization() internal view returns (bytes memory) {
        return abi.encodeCall(JobRegistry.initialize, (setup()));
    }

    function setup() internal view returns (JobRegistry.Setup memory) {
        return JobRegistry.Setup({
            admin: ADMIN,
            adminDelay: ADMIN_DELAY,
            upgrader: UPGRADER,
            revoker: REVOKER,
            pauser: PAUSER,
            confirmers: confirmers()
        });
    }

    function confirmers() internal view returns (address[] memory accounts) {
        accounts = new address[](2);
        (accounts[0], accounts[1]) = (CONFIRMER, OTHER_CONFIRMER);
    }

    function confirm(Word[] memory words) internal returns (bytes32 root) {
        vm.prank(CONFIRMER);
        return registry.confirmBatch(words);
    }

    function setQuorum(uint8 lane, uint8 k) internal {
        vm.prank(ADMIN);
        registry.setQuorum(lane, k);
    }

    function jobOf(uint64 ticket) internal pure returns (JobConfirmation memory) {
        return JobConfirmation({
            ticket: ticket,
            jobId: bytes16(keccak256(abi.encode("id", ticket))),
            inputHash: keccak256(abi.encode("input", ticket)),
            outputHash: keccak256(abi.encode("output", ticket)),
            completedAt: 1_700_000_000,
            salt: keccak256(abi.encode("salt", ticket))
        });
    }

    function ticketAt(uint64 index, uint256 position) internal pure returns (uint64) {
        return SafeCast.toUint64((uint256(index) << 8) | position);
    }

    /// @dev The 256 leaves of a word with a job at each position of `mask`.
    function leavesOf(uint64 index, uint256 mask) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](256);
        for (uint256 position = 0; position < 256; ++position) {
            if ((mask >> position) & 1 == 1) {
                leaves[position] = registry.leafOf(jobOf(ticketAt(index, position)));
            }
        }
    }

    function wordOf(uint64 index, uint256 mask) internal view returns (Word memory) {
        return Word({index: index, mask: mask, root: ReferenceTree.wordRoot(leavesOf(index, mask))});
    }

    /// @dev A word whose tree nobody opens, which is cheap to make.
    function opaqueWord(uint64 index, uint256 mask) internal pure returns (Word memory) {
        return Word({index: index, mask: mask, root: keccak256(abi.encode("word", index))});
    }

    /// @dev `count` opaque words of consecutive indices from `first`.
    function opaqueWords(uint64 first, uint256 count, uint256 mask)
        internal
        pure
        returns (Word[] memory words)
    {
        words = new Word[](count);
        for (uint64 i = 0; i < count; ++i) {
            words[i] = opaqueWord(first + i, mask);
        }
    }

    function only(Word memory word) internal pure returns (Word[] memory words) {
        words = new Word[](1);
        words[0] = word;
    }

    function pairOf(Word memory first, Word memory second) internal pure returns (Word[] memory words) {
        words = new Word[](2);
        (words[0], words[1]) = (first, second);
    }

    /// @dev The proof of the job at `position` of `words[at]`, which was made by `wordOf`.
    function proofOf(Word[] memory words, uint256 at, uint256 position) internal view returns (Proof memory) {
        Word memory word = words[at];
        return Proof({
            word: ReferenceTree.wordProof(leavesOf(word.index, word.mask), position),
            mask: word.mask,
            batch: ReferenceTree.batchProof(words, at)
        });
    }
}
