// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ReferenceTree} from "./ReferenceTree.sol";
import {SignedRegistryTest} from "./SignedRegistryTest.sol";
import {Proof, Revocation, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @title A registry with a history, and the questions that the history raises
/// @notice A question is a call of the registry, made when it arises: whether an answer has changed is seen by asking
/// the same again.
abstract contract RegistryHistory is SignedRegistryTest {
    /// @dev What a tenant keeps of a confirmed job: how `verify` is called for it.
    struct KeptReceipt {
        uint64 ticket;
        bytes call;
    }

    KeptReceipt[] internal receipts;

    /// @dev The call that confirmed a batch, and the first word of it.
    struct Confirmation {
        bytes call;
        Word first;
    }

    Confirmation[] internal confirmations;

    bytes[] private questions;

    /// @dev What the registry answers to every question; a refusal is an answer too.
    function answers() internal returns (bytes[] memory all) {
        all = new bytes[](questions.length);
        for (uint256 i = 0; i < all.length; ++i) {
            (bool success, bytes memory answer) = ask(questions[i]);
            all[i] = abi.encode(success, answer);
        }
    }

    /// @dev Asking again is answered as `before`.
    function assertSameAnswers(bytes[] memory before) internal {
        bytes[] memory again = answers();
        assertEq(again.length, before.length);
        for (uint256 i = 0; i < again.length; ++i) {
            if (keccak256(again[i]) == keccak256(before[i])) continue;
            assertEq(again[i], before[i], string.concat("another answer to ", vm.toString(questions[i])));
        }
    }

    /// @dev Asks as a confirmer and changes nothing: the call is static.
    function ask(bytes memory question) internal returns (bool success, bytes memory answer) {
        vm.prank(CONFIRMER);
        return address(registry).staticcall(question);
    }

    function raise(bytes memory question) internal {
        questions.push(question);
    }

    function verifies(KeptReceipt memory receipt) internal returns (bool) {
        (bool success, bytes memory answer) = ask(receipt.call);
        assertTrue(success);
        return abi.decode(answer, (bool));
    }

    function confirmAlone(Word[] memory words) internal {
        remember(words, confirm(words), abi.encodeCall(registry.confirmBatch, (words)));
    }

    function confirmTogether(Word[] memory words) internal {
        bytes memory confirmation = signed(words);
        remember(words, confirmSigned(words, QUORUM), confirmation);
    }

    /// @dev The call that confirms `words` with as many signatures as the lane wants.
    function signed(Word[] memory words) internal view returns (bytes memory) {
        address[] memory accounts = signers(QUORUM);
        return abi.encodeCall(
            registry.confirmBatchWithSignatures, (words, deadline, accounts, signatures(words, accounts))
        );
    }

    function revoke(uint64 index, uint256 mask) internal {
        Revocation[] memory words = new Revocation[](1);
        words[0] = Revocation(index, mask);
        vm.prank(REVOKER);
        registry.revoke(words, "wrong model version");
    }

    /// @dev Words of consecutive indices from `first`, each with the jobs of `mask`.
    function wordsOf(uint64 first, uint256 count, uint256 mask) internal view returns (Word[] memory words) {
        words = new Word[](count);
        for (uint64 i = 0; i < count; ++i) {
            words[i] = wordOf(first + i, mask);
        }
    }

    function remember(Word[] memory words, bytes32 root, bytes memory confirmation) private {
        confirmations.push(Confirmation(confirmation, words[0]));
        raise(confirmation);
        raise(abi.encodeCall(registry.batch, (root)));
        for (uint256 at = 0; at < words.length; ++at) {
            raise(abi.encodeCall(registry.word, (words[at].index)));
            rememberJobs(words, at);
        }
    }

    function rememberJobs(Word[] memory words, uint256 at) private {
        (uint64 index, uint256 mask) = (words[at].index, words[at].mask);
        bytes32[] memory leaves = leavesOf(index, mask);
        bytes32[] memory siblings = ReferenceTree.batchProof(words, at);
        for (uint256 position = 0; position < 256; ++position) {
            if (leaves[position] == 0) continue;
            uint64 ticket = ticketAt(index, position);
            Proof memory proof = Proof(ReferenceTree.wordProof(leaves, position), mask, siblings);
            bytes memory call = abi.encodeCall(registry.verify, (jobOf(ticket), proof));
            receipts.push(KeptReceipt(ticket, call));
            raise(call);
            raise(abi.encodeCall(registry.isConfirmed, (ticket)));
            raise(abi.encodeCall(registry.isRevoked, (ticket)));
        }
    }
}
