// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ReferenceTree} from "./support/ReferenceTree.sol";
import {RegistryTest} from "./support/RegistryTest.sol";
import {Batch, JobConfirmation, Proof, Word} from "contracts/interfaces/IJobRegistry.sol";

contract VerifyTest is RegistryTest {
    uint64 private constant INDEX = 42;
    uint256 private constant MASK = 0xb5 | (1 << 255);
    uint256 private constant POSITION = 5;

    Word[] private confirmed;

    /// @dev Three words, so that the batch tree has a promoted node; the jobs looked at are in the middle one.
    function setUp() public override {
        super.setUp();
        confirmed.push(opaqueWord(INDEX - 1, 1));
        confirmed.push(wordOf(INDEX, MASK));
        confirmed.push(opaqueWord(INDEX + 1, 1));
        confirm(confirmed);
    }

    function test_TrueForEveryJobOfTheBatch() public {
        vm.prank(ANYONE);
        for (uint256 position = 0; position < 256; ++position) {
            bool isJob = (MASK >> position) & 1 == 1;
            assertEq(
                registry.verify(jobOf(ticketAt(INDEX, position)), proofOf(confirmed, 1, position)), isJob
            );
        }
    }

    function test_TrueAtTheEdgesOfTheLane() public {
        uint256 edges = 1 | (1 << 255);
        Word[] memory words = pairOf(wordOf(0, edges), wordOf(LAST_INDEX, edges));
        confirm(words);
        assertTrue(registry.verify(jobOf(0), proofOf(words, 0, 0)));
        assertTrue(registry.verify(jobOf(255), proofOf(words, 0, 255)));
        assertTrue(registry.verify(jobOf(ticketAt(LAST_INDEX, 0)), proofOf(words, 1, 0)));
        assertTrue(registry.verify(jobOf((1 << 56) - 1), proofOf(words, 1, 255)));
    }

    function test_TrueForEachWordOfOddAndEvenBatches() public {
        for (uint64 count = 1; count <= 20; ++count) {
            uint64 first = count * 1000;
            for (uint64 at = 0; at < count; ++at) {
                Word[] memory words = opaqueWords(first + at * 20, count, 1);
                words[at] = wordOf(words[at].index, 1 << at);
                confirm(words);
                assertTrue(registry.verify(jobOf(ticketAt(words[at].index, at)), proofOf(words, at, at)));
            }
        }
    }

    function test_TrueInTheLargestBatch() public {
        Word[] memory words = opaqueWords(1000, 512, 1);
        words[300] = wordOf(1300, DENSE);
        confirm(words);
        assertTrue(registry.verify(jobOf(ticketAt(1300, 77)), proofOf(words, 300, 77)));
    }

    function testFuzz_TrueForAnyMask(uint64 index, uint256 mask, uint8 position) public {
        index = uint64(bound(index, INDEX + 2, LAST_INDEX));
        mask |= 1 << position;
        Word[] memory words = only(wordOf(index, mask));
        confirm(words);
        assertTrue(registry.verify(jobOf(ticketAt(index, position)), proofOf(words, 0, position)));
    }

    function test_TrueWhilePaused() public {
        vm.prank(PAUSER);
        registry.pause();
        assertTrue(registry.verify(theJob(), theProof()));
        assertTrue(registry.isConfirmed(theJob().ticket));
    }

    function testFuzz_FalseWhenAFieldDiffers(uint8 field, uint256 flip) public view {
        JobConfirmation memory job = theJob();
        field = uint8(bound(field, 0, 5));
        if (field == 0) job.ticket ^= uint64(bound(flip, 1, type(uint64).max));
        if (field == 1) job.jobId ^= bytes16(uint128(bound(flip, 1, type(uint128).max)));
        if (field == 2) job.inputHash ^= bytes32(bound(flip, 1, type(uint256).max));
        if (field == 3) job.outputHash ^= bytes32(bound(flip, 1, type(uint256).max));
        if (field == 4) job.completedAt ^= uint64(bound(flip, 1, type(uint64).max));
        if (field == 5) job.salt ^= bytes32(bound(flip, 1, type(uint256).max));
        assertFalse(registry.verify(job, theProof()));
    }

    /// @dev The job under another ticket of the same word, at which there is a job too.
    function test_FalseForTheJobUnderAnotherTicket() public view {
        JobConfirmation memory job = theJob();
        job.ticket = ticketAt(INDEX, 7);
        assertFalse(registry.verify(job, theProof()));
        assertFalse(registry.verify(job, proofOf(confirmed, 1, 7)));
    }

    function testFuzz_FalseWhenASiblingDiffers(uint256 level, uint256 flip) public view {
        Proof memory proof = theProof();
        level = bound(level, 0, 7 + proof.batch.length);
        bytes32 change = bytes32(bound(flip, 1, type(uint256).max));
        if (level < 8) proof.word[level] ^= change;
        else proof.batch[level - 8] ^= change;
        assertFalse(registry.verify(theJob(), proof));
    }

    function test_FalseWhenWordSiblingsAreSwapped() public view {
        Proof memory proof = theProof();
        (proof.word[0], proof.word[1]) = (proof.word[1], proof.word[0]);
        assertFalse(registry.verify(theJob(), proof));
    }

    function testFuzz_FalseForAnotherMask(uint256 mask) public view {
        vm.assume(mask != MASK);
        Proof memory proof = theProof();
        proof.mask = mask;
        assertFalse(registry.verify(theJob(), proof));
    }

    function testFuzz_FalseForABatchProofOfAnotherLength(bytes32[] calldata siblings) public view {
        Proof memory proof = theProof();
        vm.assume(keccak256(abi.encode(siblings)) != keccak256(abi.encode(proof.batch)));
        proof.batch = siblings;
        assertFalse(registry.verify(theJob(), proof));
    }

    function test_FalseForATruncatedBatchProof() public view {
        Proof memory proof = theProof();
        assertEq(proof.batch.length, 2);
        bytes32[] memory shorter = new bytes32[](1);
        shorter[0] = proof.batch[0];
        proof.batch = shorter;
        assertFalse(registry.verify(theJob(), proof));
        proof.batch = new bytes32[](0);
        assertFalse(registry.verify(theJob(), proof));
    }

    function test_FalseForABatchThatIsNotKnown() public view {
        Word[] memory words = only(wordOf(INDEX + 5, MASK));
        assertFalse(registry.verify(jobOf(ticketAt(INDEX + 5, POSITION)), proofOf(words, 0, POSITION)));
    }

    function testFuzz_FalseForEmptyProofs(JobConfirmation calldata job, uint256 mask) public view {
        Proof memory proof;
        assertFalse(registry.verify(job, proof));
        proof.mask = mask;
        assertFalse(registry.verify(job, proof));
    }

    function testFuzz_NoBatchIsKnownThatWasNotConfirmed(bytes32 root) public view {
        vm.assume(root != ReferenceTree.batchRoot(confirmed));
        assertEq(keccak256(abi.encode(registry.batch(root))), keccak256(new bytes(160)));
        assertEq(registry.batch(0).format, 0);
    }

    function test_FalseWhenTheMaskLeavesTheLeafOut() public {
        uint64 index = INDEX + 5;
        bytes32[] memory leaves = leavesOf(index, 3);
        Word[] memory hidden = only(Word({index: index, mask: 1, root: ReferenceTree.wordRoot(leaves)}));
        confirm(hidden);

        JobConfirmation memory job = jobOf(ticketAt(index, 1));
        Proof memory proof = Proof({
            word: ReferenceTree.wordProof(leaves, 1), mask: 1, batch: ReferenceTree.batchProof(hidden, 0)
        });
        assertFalse(registry.verify(job, proof), "tree without bit");

        Word[] memory spending = only(wordOf(index, 2));
        confirm(spending);
        assertFalse(registry.verify(job, proof), "the bit was spent by another batch");
        assertTrue(registry.verify(job, proofOf(spending, 0, 1)));
    }

    function testFuzz_ABurntTicketVerifiesNothing(JobConfirmation calldata job) public {
        uint64 index = INDEX + 5;
        bytes32[] memory leaves = leavesOf(index, 1);
        Word[] memory words = only(Word({index: index, mask: 3, root: ReferenceTree.wordRoot(leaves)}));
        confirm(words);
        Proof memory proof = Proof({
            word: ReferenceTree.wordProof(leaves, 1), mask: 3, batch: ReferenceTree.batchProof(words, 0)
        });

        JobConfirmation memory forged = job;
        forged.ticket = ticketAt(index, 1);
        assertTrue(registry.isConfirmed(forged.ticket));
        assertFalse(registry.verify(forged, proof));
    }

    function test_FalseWhenTheLeafStandsAtAnotherPosition() public {
        uint64 index = INDEX + 5;
        bytes32[] memory leaves = new bytes32[](256);
        leaves[9] = registry.leafOf(jobOf(ticketAt(index, 8)));
        Word[] memory words = only(Word({index: index, mask: 3 << 8, root: ReferenceTree.wordRoot(leaves)}));
        confirm(words);
        Proof memory proof = Proof({
            word: ReferenceTree.wordProof(leaves, 9), mask: 3 << 8, batch: ReferenceTree.batchProof(words, 0)
        });
        assertFalse(registry.verify(jobOf(ticketAt(index, 8)), proof));
        assertFalse(registry.verify(jobOf(ticketAt(index, 9)), proof));
    }

    function test_FalseWhenTheBatchProofGoesOnPastTheRoot() public view {
        Proof memory proof = theProof();
        bytes32[] memory longer = new bytes32[](3);
        (longer[0], longer[1], longer[2]) =
        (proof.batch[0], proof.batch[1], ReferenceTree.batchRoot(confirmed));
        proof.batch = longer;
        assertFalse(registry.verify(theJob(), proof));
    }

    function test_FalseForABatchOfAnotherFormat() public {
        bytes32 root = ReferenceTree.batchRoot(confirmed);
        bytes32 slot = keccak256(abi.encode(root, STORAGE_BASE + 2));
        uint256 packed = uint256(vm.load(address(registry), slot));
        vm.store(address(registry), slot, bytes32((packed & (DENSE >> 8)) | (2 << 248)));
        assertEq(registry.batch(root).format, 2);
        assertFalse(registry.verify(theJob(), theProof()));
    }

    function test_FalseWhenRevoked() public {
        uint256 mask = 1 << POSITION;
        vm.store(address(registry), keccak256(abi.encode(INDEX, STORAGE_BASE + 1)), bytes32(mask));

        assertFalse(registry.verify(theJob(), theProof()));
        assertFalse(registry.isConfirmed(theJob().ticket));
        (uint256 spent, uint256 revoked) = registry.word(INDEX);
        assertEq(spent, MASK);
        assertEq(revoked, mask);
        assertTrue(registry.verify(jobOf(ticketAt(INDEX, 7)), proofOf(confirmed, 1, 7)));
        assertTrue(registry.isConfirmed(ticketAt(INDEX, 7)));
    }

    function test_RevertWhen_ArgumentsDoNotDecode() public view {
        bytes memory call = abi.encodeCall(registry.verify, (theJob(), theProof()));
        call[4] = 0x01; // a ticket of more than 64 bits
        (bool success,) = address(registry).staticcall(call);
        assertFalse(success);
    }

    function theJob() private pure returns (JobConfirmation memory) {
        return jobOf(ticketAt(INDEX, POSITION));
    }

    function theProof() private view returns (Proof memory) {
        return proofOf(confirmed, 1, POSITION);
    }
}
