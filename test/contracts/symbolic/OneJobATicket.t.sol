// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {SymbolicRegistry} from "./SymbolicRegistry.sol";
import {JobConfirmation, Proof, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @title A ticket verifies for one job at most, ever
/// @notice Say of a word that it is known when a known batch has it in its tree. Two things hold of every state that a
/// registry can reach, because they hold of the empty one and no call breaks them:
///
///   1. the mask of a known word is spent;
///   2. two known words of one index that share a ticket are the same.
///
/// A job that verifies has its leaf in a known word whose mask holds its ticket. So two that verify under one ticket have their
/// leaves in the same word, at the same position: they are the same. Only confirming records batches
/// ({SpentTicketsProof}), so no other call could break 1 or 2.
///
/// Checks of `verify` go over all 256 positions with short batch proofs, and at one position with longer ones.
contract OneJobATicketProof is SymbolicRegistry {
    uint256 private constant POSITION = 0xb5;

    /// @custom:halmos --array-lengths words={1,2,3},siblings={0,1,2}
    function check_ConfirmingKeepsKnownMasksSpent(
        address caller,
        Word[] memory words,
        Word memory known,
        bytes32[] memory siblings
    ) public {
        bytes32 root = batchRoot(known, siblings);
        vm.assume(implies(isKnown(root), isSpent(known)));
        vm.prank(caller);
        registry.confirmBatch(words);
        assert(implies(isKnown(root), isSpent(known)));
    }

    /// @custom:halmos --array-lengths words={1,2},siblings={0,1},signers=1,signatures=1
    function check_ConfirmingSignedKeepsKnownMasksSpent(
        address caller,
        Word[] memory words,
        uint256 deadline,
        address[] memory signers,
        bytes[] memory signatures,
        Word memory known,
        bytes32[] memory siblings
    ) public {
        bytes32 root = batchRoot(known, siblings);
        vm.assume(implies(isKnown(root), isSpent(known)));
        vm.prank(caller);
        registry.confirmBatchWithSignatures(words, deadline, signers, signatures);
        assert(implies(isKnown(root), isSpent(known)));
    }

    /// @custom:halmos --array-lengths words={1,2},siblings={0,1},otherSiblings={0,1}
    function check_ConfirmingKeepsKnownWordsApart(
        address caller,
        Word[] memory words,
        Word memory known,
        bytes32[] memory siblings,
        Word memory other,
        bytes32[] memory otherSiblings
    ) public {
        (bytes32 root, bytes32 otherRoot) = (batchRoot(known, siblings), batchRoot(other, otherSiblings));
        assumeApart(known, root, other, otherRoot);
        vm.prank(caller);
        registry.confirmBatch(words);
        assert(implies(isKnown(root), !isKnown(otherRoot)));
    }

    /// @custom:halmos --array-lengths words=2,siblings=1,otherSiblings={0,1},signers=1,signatures=1
    function check_ConfirmingSignedKeepsKnownWordsApart(
        address caller,
        Word[] memory words,
        uint256 deadline,
        address[] memory signers,
        bytes[] memory signatures,
        Word memory known,
        bytes32[] memory siblings,
        Word memory other,
        bytes32[] memory otherSiblings
    ) public {
        (bytes32 root, bytes32 otherRoot) = (batchRoot(known, siblings), batchRoot(other, otherSiblings));
        assumeApart(known, root, other, otherRoot);
        vm.prank(caller);
        registry.confirmBatchWithSignatures(words, deadline, signers, signatures);
        assert(implies(isKnown(root), !isKnown(otherRoot)));
    }

    /// @custom:halmos --array-lengths proof.batch=0
    function check_VerifyMeansALeafInAKnownWord(
        uint56 index,
        uint8 position,
        JobConfirmation memory job,
        Proof memory proof
    ) public view {
        job.ticket = ticketAt(index, each(position));
        verifyMeansALeafInAKnownWord(job, proof);
    }

    /// @custom:halmos --array-lengths proof.batch={1,2,3,4}
    function check_VerifyMeansALeafInAKnownWordInLongProofs(
        uint56 index,
        JobConfirmation memory job,
        Proof memory proof
    ) public view {
        job.ticket = ticketAt(index, POSITION);
        verifyMeansALeafInAKnownWord(job, proof);
    }

    /// @dev Given 2: known words that share the ticket are the same.
    /// @custom:halmos --array-lengths proof.batch={0,1,2},otherProof.batch={0,1,2}
    function check_NoTwoJobsVerify(
        uint56 index,
        JobConfirmation memory job,
        Proof memory proof,
        JobConfirmation memory other,
        Proof memory otherProof
    ) public view {
        (job.ticket, other.ticket) = (ticketAt(index, POSITION), ticketAt(index, POSITION));
        vm.assume(proof.mask == otherProof.mask);
        vm.assume(wordOf(job, proof).root == wordOf(other, otherProof).root);
        vm.assume(registry.verify(job, proof));
        vm.assume(registry.verify(other, otherProof));
        assert(keccak256(abi.encode(job)) == keccak256(abi.encode(other)));
    }

    /// @dev As it is where the word has no job. If the word's root, made with a zero there, is the one that is proven,
    /// no job is.
    /// @custom:halmos --array-lengths proof.batch={0,1,2}
    function check_NoJobVerifiesWhereTheLeafIsZero(
        uint56 index,
        JobConfirmation memory job,
        Proof memory proof,
        bytes32[8] memory siblings
    ) public view {
        job.ticket = ticketAt(index, POSITION);
        vm.assume(wordOf(job, proof).root == wordRoot(0, POSITION, siblings));
        assert(!registry.verify(job, proof));
    }

    function check_IsConfirmedMeansSpentAndNotRevoked(uint64 ticket) public view {
        (uint256 spent, uint256 revoked) = registry.word(ticket >> 8);
        bool isMarked = (spent & ~revoked) >> (ticket & 255) & 1 == 1;
        assert(registry.isConfirmed(ticket) == isMarked);
        assert(registry.isRevoked(ticket) == (revoked >> (ticket & 255) & 1 == 1));
    }

    function verifyMeansALeafInAKnownWord(JobConfirmation memory job, Proof memory proof) private view {
        if (!registry.verify(job, proof)) return;
        assert(registry.batch(rootOf(job, proof)).format == 1);
        assert(proof.mask >> (job.ticket & 255) & 1 == 1);
        assert(!registry.isRevoked(job.ticket));
    }

    function assumeApart(Word memory known, bytes32 root, Word memory other, bytes32 otherRoot) private view {
        vm.assume(known.index == other.index);
        vm.assume(known.mask & other.mask != 0);
        vm.assume(implies(known.mask == other.mask, known.root != other.root));
        vm.assume(implies(isKnown(root), isSpent(known)));
        vm.assume(implies(isKnown(otherRoot), isSpent(other)));
        vm.assume(implies(isKnown(root), !isKnown(otherRoot)));
    }

    function ticketAt(uint56 index, uint256 position) private pure returns (uint64) {
        return (uint64(index) << 8) | uint64(position);
    }

    function rootOf(JobConfirmation memory job, Proof memory proof) private view returns (bytes32) {
        return batchRoot(wordOf(job, proof), proof.batch);
    }

    function wordOf(JobConfirmation memory job, Proof memory proof) private view returns (Word memory) {
        bytes32 leaf = registry.leafOf(job);
        return Word(job.ticket >> 8, proof.mask, wordRoot(leaf, job.ticket & 255, proof.word));
    }
}
