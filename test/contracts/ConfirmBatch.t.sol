// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ReferenceTree} from "./support/ReferenceTree.sol";
import {RegistryTest} from "./support/RegistryTest.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {Batch, IJobRegistry, Word} from "contracts/interfaces/IJobRegistry.sol";

contract ConfirmBatchTest is RegistryTest {
    function test_RevertWhen_Paused() public {
        vm.prank(PAUSER);
        registry.pause();

        vm.prank(CONFIRMER);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        registry.confirmBatch(only(opaqueWord(0, 1)));
    }

    function test_RevertWhen_CallerIsNoConfirmer() public {
        address[3] memory callers = [ANYONE, ADMIN, PAUSER];
        bytes32 role = registry.CONFIRMER_ROLE();
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.prank(callers[i]);
            vm.expectRevert(
                abi.encodeWithSelector(
                    IAccessControl.AccessControlUnauthorizedAccount.selector, callers[i], role
                )
            );
            registry.confirmBatch(only(opaqueWord(0, 1)));
        }
    }

    function test_RevertWhen_ThereAreNoWords() public {
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.WordCountOutOfRange.selector, 0, 512));
        confirm(new Word[](0));
    }

    function test_RevertWhen_ThereAreMoreThan512Words() public {
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.WordCountOutOfRange.selector, 513, 512));
        confirm(opaqueWords(0, 513, 1));
    }

    function testFuzz_RevertWhen_LaneIsClosed(uint64 index) public {
        index = uint64(bound(index, LAST_INDEX + 1, type(uint64).max));
        expectLaneClosed(index);
    }

    /// @dev Each has a zero, or an open lane, where a comparison of 8 bits would look.
    function test_RevertWhen_LaneIsBeyondTheTicketsWidth() public {
        setQuorum(1, 1);
        expectLaneClosed(1 << 56);
        expectLaneClosed((1 << 56) | (1 << 48));
        expectLaneClosed(1 << 63);
    }

    function test_RevertWhen_LaneIsClosedAgain() public {
        setQuorum(1, 1);
        confirm(only(opaqueWord(FIRST_CRITICAL, 1)));
        setQuorum(1, 0);
        expectLaneClosed(FIRST_CRITICAL);
    }

    function test_RevertWhen_FirstAndLastWordLieInDifferentLanes() public {
        setQuorum(1, 1);
        expectLanesDiffer(LAST_INDEX, FIRST_CRITICAL);
        expectLanesDiffer(FIRST_CRITICAL, 2 << 48);
        expectLanesDiffer(2 << 48, FIRST_CRITICAL);
    }

    /// @dev Lanes 0 and 256 agree in their lower 8 bits.
    function test_RevertWhen_LanesAgreeInTheirLowerBitsOnly() public {
        expectLanesDiffer(1, 1 << 56);
        setQuorum(31, 1);
        expectLanesDiffer(31 << 48, (256 + 31) << 48);
    }

    /// @dev First and last word agree, so the one between them that does not is out of order.
    function test_RevertWhen_AWordBetweenLiesInAnotherLane() public {
        Word[] memory words = opaqueWords(1, 3, 1);
        words[1].index = FIRST_CRITICAL;
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.WordsNotAscending.selector, FIRST_CRITICAL, 3));
        confirm(words);
    }

    function testFuzz_RevertWhen_QuorumIsMoreThanOne(uint8 lane, uint8 quorum) public {
        lane = uint8(bound(lane, 1, 31));
        quorum = uint8(bound(quorum, 2, 255));
        setQuorum(lane, quorum);
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.QuorumNotReached.selector, lane, 1, quorum));
        confirm(only(opaqueWord(uint64(lane) << 48, 1)));
    }

    function testFuzz_ConfirmsWhereTheQuorumIsOne(uint8 lane) public {
        lane = uint8(bound(lane, 1, 31));
        setQuorum(lane, 1);
        Word[] memory words = pairOf(
            opaqueWord(uint64(lane) << 48, 1), opaqueWord((uint64(lane) << 48) | LAST_INDEX, 1 << 255)
        );
        vm.expectEmit(address(registry));
        emit IJobRegistry.BatchConfirmed(ReferenceTree.batchRoot(words), CONFIRMER, lane, 2, 1, words);
        confirm(words);
        assertTrue(registry.isConfirmed(uint64(lane) << 56));
        assertTrue(registry.isConfirmed((uint64(lane) << 56) | ((1 << 56) - 1)));
    }

    /// @dev Whatever is stored in the byte that no lane owns.
    function test_TheStandardLaneReadsNoQuorum() public {
        vm.store(address(registry), bytes32(STORAGE_BASE + 3), bytes32(uint256(7)));
        vm.record();
        confirm(only(opaqueWord(1, 1)));
        (bytes32[] memory reads,) = vm.accesses(address(registry));
        for (uint256 i = 0; i < reads.length; ++i) {
            assertNotEq(uint256(reads[i]), STORAGE_BASE + 3);
        }
    }

    function testFuzz_RevertWhen_WordsAreNotAscending(uint64 first, uint64 second) public {
        first = uint64(bound(first, 0, LAST_INDEX));
        second = uint64(bound(second, 0, first));
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.WordsNotAscending.selector, first, second));
        confirm(pairOf(opaqueWord(first, 1), opaqueWord(second, 2)));
    }

    function test_RevertWhen_AMaskIsZero() public {
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.EmptyMask.selector, 8));
        confirm(pairOf(opaqueWord(7, 1), opaqueWord(8, 0)));
    }

    function test_RevertWhen_ARootIsZero() public {
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.EmptyRoot.selector, 8));
        confirm(pairOf(opaqueWord(7, 1), Word({index: 8, mask: 1, root: 0})));
    }

    function testFuzz_RevertWhen_TicketsAreSpent(uint64 index, uint256 spent, uint256 mask) public {
        index = uint64(bound(index, 1, LAST_INDEX));
        vm.assume(spent & mask != 0);
        confirm(only(opaqueWord(index, spent)));

        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.AlreadyConfirmed.selector, index, spent & mask));
        confirm(pairOf(opaqueWord(index - 1, 1), opaqueWord(index, mask)));

        (uint256 neighbour,) = registry.word(index - 1);
        assertEq(neighbour, 0, "a refused batch spends nothing");
    }

    function test_RevertWhen_TheSameBatchComesAgain() public {
        Word[] memory words = opaqueWords(3, 2, 0xff);
        confirm(words);

        vm.prank(OTHER_CONFIRMER);
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.AlreadyConfirmed.selector, 3, 0xff));
        registry.confirmBatch(words);
    }

    function testFuzz_SpendsExactlyTheMask(uint64 index, uint256 mask) public {
        index = uint64(bound(index, 0, LAST_INDEX));
        vm.assume(mask != 0);
        confirm(only(opaqueWord(index, mask)));

        (uint256 confirmed, uint256 revoked) = registry.word(index);
        assertEq(confirmed, mask);
        assertEq(revoked, 0);
        for (uint256 position = 0; position < 256; ++position) {
            assertEq(registry.isConfirmed(ticketAt(index, position)), (mask >> position) & 1 == 1);
        }
    }

    function testFuzz_TakesFurtherTicketsOfATouchedWord(uint256 mask) public {
        vm.assume(mask != 0 && mask != DENSE);
        confirm(only(opaqueWord(5, mask)));
        confirm(only(opaqueWord(5, ~mask)));

        (uint256 confirmed,) = registry.word(5);
        assertEq(confirmed, DENSE);
    }

    function test_RootIsTheReferenceTrees() public {
        for (uint64 count = 1; count <= 20; ++count) {
            Word[] memory words = opaqueWords(count * 100, count, count);
            assertEq(confirm(words), ReferenceTree.batchRoot(words), vm.toString(count));
        }
    }

    function test_RootOfTheLargestBatchIsTheReferenceTrees() public {
        Word[] memory words = opaqueWords(0, 512, DENSE);
        bytes32 root = confirm(words);
        assertEq(root, ReferenceTree.batchRoot(words));
        assertEq(registry.batch(root).jobs, 512 * 256);
    }

    function testFuzz_RootIsTheReferenceTrees(uint256[] calldata masks, uint64 first) public {
        uint256 count = bound(masks.length, 1, 40);
        Word[] memory words = opaqueWords(uint64(bound(first, 0, LAST_INDEX - 40)), count, 1);
        for (uint256 i = 0; i < masks.length && i < count; ++i) {
            words[i].mask = masks[i] | 1;
        }
        assertEq(confirm(words), ReferenceTree.batchRoot(words));
    }

    function test_AnOddNodeIsPromotedNotDoubled() public {
        Word[] memory words = opaqueWords(0, 3, 1);
        Word[] memory doubled = new Word[](4);
        (doubled[0], doubled[1], doubled[2], doubled[3]) = (words[0], words[1], words[2], words[2]);
        assertNotEq(confirm(words), ReferenceTree.batchRoot(doubled));
    }

    function testFuzz_KeepsTheBatch(uint256 mask, uint48 time) public {
        vm.assume(mask != 0);
        vm.warp(time);
        bytes32 root = confirm(pairOf(opaqueWord(1, mask), opaqueWord(2, DENSE)));

        Batch memory batch = registry.batch(root);
        assertEq(batch.submitter, CONFIRMER);
        assertEq(batch.confirmedAt, time);
        assertEq(batch.jobs, bitsOf(mask) + 256);
        assertEq(batch.approvals, 1);
        assertEq(batch.format, 1);
    }

    function test_EmitsBatchConfirmed() public {
        Word[] memory words = pairOf(opaqueWord(0, 7), opaqueWord(9, 1 << 255));
        vm.expectEmit(address(registry));
        emit IJobRegistry.BatchConfirmed(ReferenceTree.batchRoot(words), CONFIRMER, 0, 4, 1, words);
        confirm(words);
    }

    function test_TakesTheFirstAndTheLastTicketOfTheLane() public {
        confirm(pairOf(opaqueWord(0, 1), opaqueWord(LAST_INDEX, 1 << 255)));
        assertTrue(registry.isConfirmed(0));
        assertTrue(registry.isConfirmed((1 << 56) - 1));
        assertFalse(registry.isConfirmed(1));
        assertFalse(registry.isConfirmed((1 << 56) - 2));
    }

    function expectLanesDiffer(uint64 first, uint64 last) private {
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.LanesDiffer.selector, first >> 48, last >> 48));
        confirm(pairOf(opaqueWord(first, 1), opaqueWord(last, 1)));
    }

    function expectLaneClosed(uint64 index) private {
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.LaneClosed.selector, index >> 48));
        confirm(only(opaqueWord(index, 1)));
    }

    function bitsOf(uint256 mask) private pure returns (uint256 count) {
        for (; mask != 0; mask &= mask - 1) {
            ++count;
        }
    }
}
