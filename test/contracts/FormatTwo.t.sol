// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ReferenceTree} from "./support/ReferenceTree.sol";
import {SuccessorTest} from "./support/SuccessorTest.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {IJobRegistry, Proof, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @dev A second format beside the first, on the same tickets: what a batch was confirmed as is all it ever is.
contract FormatTwoTest is SuccessorTest {
    uint64 private constant INDEX = 42;
    uint256 private constant MASK = 0x15 | (1 << 255);
    uint256 private constant POSITION = 2;

    uint64 private immutable TICKET = ticketAt(INDEX, POSITION);

    function test_VerifiesUntilRevoked() public {
        upgrade();
        (Word[] memory words, Proof memory proof) = inFormatTwo();
        bytes32 root = confirmV2(words);
        assertEq(root, ReferenceTree.batchRoot(words));
        assertEq(registry.batch(root).format, 2);
        assertTrue(successor.verify(jobV2Of(TICKET), proof));

        revoke(INDEX, 1 << POSITION);
        assertFalse(successor.verify(jobV2Of(TICKET), proof));
    }

    function test_IsNotFormatOne() public {
        upgrade();
        (Word[] memory words, Proof memory proof) = inFormatTwo();
        confirmV2(words);
        assertFalse(registry.verify(jobOf(TICKET), proof));
    }

    /// @dev Leaves and trees fit: only the batch's format speaks against them.
    function test_FormatOneRefusesItsOwnTreeConfirmedAsFormatTwo() public {
        upgrade();
        Word[] memory words = wordsOf(INDEX, 2, MASK);
        confirmV2(words);
        assertTrue(registry.isConfirmed(TICKET));
        assertFalse(registry.verify(jobOf(TICKET), proofOf(words, 0, POSITION)));
    }

    function test_FormatTwoRefusesItsOwnTreeConfirmedAsFormatOne() public {
        upgrade();
        (Word[] memory words, Proof memory proof) = inFormatTwo();
        confirm(words);
        assertTrue(registry.isConfirmed(TICKET));
        assertFalse(successor.verify(jobV2Of(TICKET), proof));
    }

    function test_SpendsTheSameTickets() public {
        confirm(only(opaqueWord(INDEX, 3)));
        upgrade();
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.AlreadyConfirmed.selector, INDEX, 2));
        confirmV2(only(opaqueWord(INDEX, 6)));

        confirmV2(only(opaqueWord(INDEX, 12)));
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.AlreadyConfirmed.selector, INDEX, 8));
        confirm(only(opaqueWord(INDEX, 24)));
    }

    function test_IsNothingToTheRegistryAfterADowngrade() public {
        upgrade();
        (Word[] memory words, Proof memory proof) = inFormatTwo();
        confirmV2(words);
        downgrade();
        assertFalse(registry.verify(jobOf(TICKET), proof));
        assertTrue(registry.isConfirmed(TICKET));
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.AlreadyConfirmed.selector, INDEX, MASK));
        confirm(words);

        upgradeWithoutMigration();
        assertTrue(successor.verify(jobV2Of(TICKET), proof));
    }

    function test_RevertWhen_NotMigrated() public {
        upgradeWithoutMigration();
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.WordCountOutOfRange.selector, 1, 0));
        confirmV2(only(opaqueWord(INDEX, 1)));
    }

    function test_RevertWhen_PausedBeforeTheUpgrade() public {
        vm.prank(PAUSER);
        registry.pause();
        upgrade();
        vm.expectRevert(Pausable.EnforcedPause.selector);
        confirmV2(only(opaqueWord(INDEX, 1)));
    }

    /// @dev A batch of one word with the jobs of MASK, and the proof of the one at POSITION.
    function inFormatTwo() private view returns (Word[] memory words, Proof memory proof) {
        bytes32[] memory leaves = new bytes32[](256);
        for (uint256 position = 0; position < 256; ++position) {
            if ((MASK >> position) & 1 == 1) {
                leaves[position] = successor.leafOf(jobV2Of(ticketAt(INDEX, position)));
            }
        }
        words = only(Word(INDEX, MASK, ReferenceTree.wordRoot(leaves)));
        proof = Proof(ReferenceTree.wordProof(leaves, POSITION), MASK, new bytes32[](0));
    }
}
