// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ConsumerTest} from "../support/ConsumerTest.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {Expected, JobReceipts} from "contracts/consumer/JobReceipts.sol";
import {IJobRegistry, JobConfirmation, Proof} from "contracts/interfaces/IJobRegistry.sol";

/// @dev A contract with the library inside, as a consumer has it.
contract Consumer {
    using JobReceipts for IJobRegistry;

    function confirmedOutput(
        IJobRegistry registry,
        uint8 lane,
        Expected calldata expected,
        JobConfirmation calldata job,
        Proof calldata proof
    ) external view returns (bytes32) {
        return registry.confirmedOutput(lane, expected, job, proof);
    }

    function checkExpected(uint8 lane, Expected calldata expected) external pure {
        JobReceipts.checkExpected(lane, expected);
    }
}

contract JobReceiptsTest is ConsumerTest {
    Consumer private consumer;
    JobConfirmation private job;
    Proof private proof;

    function setUp() public override {
        super.setUp();
        consumer = new Consumer();
        job = jobOf(TICKET);
        proof = confirmTogether(job);
    }

    function test_ReturnsTheOutputHash() public {
        vm.prank(ANYONE);
        assertEq(consumer.confirmedOutput(registry, LANE, expected(), job, proof), job.outputHash);
    }

    function testFuzz_ReturnsTheOutputHashOfAnyJob(JobConfirmation memory any) public {
        vm.assume(any.inputHash != 0);
        any.ticket = uint64(bound(any.ticket, 0, (1 << 56) - 1));
        Proof memory its = confirmAlone(any);
        Expected memory wanted = Expected({ticket: any.ticket, inputHash: any.inputHash});
        assertEq(consumer.confirmedOutput(registry, 0, wanted, any, its), any.outputHash);
    }

    function test_ReturnsTheOutputHashWhilePaused() public {
        pause();
        assertEq(consumer.confirmedOutput(registry, LANE, expected(), job, proof), job.outputHash);
    }

    function testFuzz_RevertWhen_NoInputIsExpected(uint64 ticket, uint8 lane) public {
        Expected memory wanted = Expected({ticket: ticket, inputHash: 0});
        expectRefusal(abi.encodeWithSelector(JobReceipts.InputHashMissing.selector, ticket), lane, wanted);
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.InputHashMissing.selector, ticket));
        consumer.checkExpected(lane, wanted);
    }

    /// @dev What a mapping gives for an id that was never written would fit ticket 0, were zero an input.
    function test_RevertWhen_TheOrderWasNeverWritten() public {
        JobConfirmation memory blank = jobOf(0);
        blank.inputHash = 0;
        Proof memory its = confirmAlone(blank);
        assertTrue(registry.verify(blank, its));

        Expected memory unwritten;
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.InputHashMissing.selector, 0));
        consumer.confirmedOutput(registry, 0, unwritten, blank, its);
    }

    function testFuzz_RevertWhen_TheTicketLiesInAnotherLane(uint64 ticket, uint8 insisted) public {
        uint8 lane = upperByteOf(ticket);
        vm.assume(lane != insisted);
        Expected memory wanted = Expected({ticket: ticket, inputHash: job.inputHash});
        bytes memory refusal =
            abi.encodeWithSelector(JobReceipts.LaneMismatch.selector, ticket, lane, insisted);
        expectRefusal(refusal, insisted, wanted);
        vm.expectRevert(refusal);
        consumer.checkExpected(insisted, wanted);
    }

    /// @dev One dishonest confirmer is enough for the registry, and not for who insists on a quorum: neither for an
    /// order that names the ticket that was confirmed, nor for one that names its own.
    function test_RevertWhen_CriticalContentIsConfirmedByASingleConfirmer() public {
        JobConfirmation memory forged = twinOf(job, STANDARD_TICKET);
        Proof memory its = confirmAlone(forged);
        assertTrue(registry.verify(forged, its));

        Expected memory wanted = Expected(STANDARD_TICKET, job.inputHash);
        vm.expectRevert(
            abi.encodeWithSelector(JobReceipts.LaneMismatch.selector, STANDARD_TICKET, uint8(0), LANE)
        );
        consumer.confirmedOutput(registry, LANE, wanted, forged, its);

        vm.expectRevert(abi.encodeWithSelector(JobReceipts.TicketMismatch.selector, TICKET, STANDARD_TICKET));
        consumer.confirmedOutput(registry, LANE, expected(), forged, its);
    }

    function testFuzz_RevertWhen_TheTicketDiffers(uint64 ticket) public {
        ticket = (ticket & ((1 << 56) - 1)) | (uint64(LANE) << 56);
        vm.assume(ticket != TICKET);
        Expected memory wanted = expected();
        wanted.ticket = ticket;
        expectRefusal(
            abi.encodeWithSelector(JobReceipts.TicketMismatch.selector, ticket, TICKET), LANE, wanted
        );
    }

    /// @dev Both are confirmed, by a quorum even, and only one of them is what was ordered.
    function test_RevertWhen_TheSameJobIsShownUnderAnotherTicket() public {
        JobConfirmation memory twin = twinOf(job, OTHER_TICKET);
        Proof memory its = confirmTogether(twin);
        assertTrue(registry.verify(job, proof) && registry.verify(twin, its));
        assertNotEq(twin.outputHash, job.outputHash);

        vm.expectRevert(abi.encodeWithSelector(JobReceipts.TicketMismatch.selector, TICKET, OTHER_TICKET));
        consumer.confirmedOutput(registry, LANE, expected(), twin, its);
    }

    function testFuzz_RevertWhen_TheInputDiffers(bytes32 inputHash) public {
        vm.assume(inputHash != 0 && inputHash != job.inputHash);
        Expected memory wanted = expected();
        wanted.inputHash = inputHash;
        expectRefusal(
            abi.encodeWithSelector(JobReceipts.InputMismatch.selector, inputHash, job.inputHash), LANE, wanted
        );
    }

    function test_RevertWhen_TheJobIsNotConfirmed() public {
        JobConfirmation memory other = jobOf(OTHER_TICKET);
        (, Proof memory its) = singleton(registry, other);
        Expected memory wanted = Expected(OTHER_TICKET, other.inputHash);
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.JobNotConfirmed.selector, OTHER_TICKET));
        consumer.confirmedOutput(registry, LANE, wanted, other, its);
    }

    /// @dev The fields that nobody expects are the registry's to check.
    function testFuzz_RevertWhen_AnotherFieldDiffers(uint8 field, uint256 flip) public {
        JobConfirmation memory forged = job;
        field = uint8(bound(field, 0, 3));
        if (field == 0) forged.jobId ^= bytes16(uint128(bound(flip, 1, type(uint128).max)));
        if (field == 1) forged.outputHash ^= bytes32(bound(flip, 1, type(uint256).max));
        if (field == 2) forged.completedAt ^= uint64(bound(flip, 1, type(uint64).max));
        if (field == 3) forged.salt ^= bytes32(bound(flip, 1, type(uint256).max));
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.JobNotConfirmed.selector, TICKET));
        consumer.confirmedOutput(registry, LANE, expected(), forged, proof);
    }

    function testFuzz_RevertWhen_TheProofDiffers(uint256 level, uint256 flip) public {
        Proof memory forged = proof;
        forged.word[bound(level, 0, 7)] ^= bytes32(bound(flip, 1, type(uint256).max));
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.JobNotConfirmed.selector, TICKET));
        consumer.confirmedOutput(registry, LANE, expected(), job, forged);
    }

    /// @dev The same question, before and after.
    function test_RevertWhen_TheJobWasRevokedSince() public {
        consumer.confirmedOutput(registry, LANE, expected(), job, proof);
        revoke(TICKET);
        expectRefusal(abi.encodeWithSelector(JobReceipts.JobNotConfirmed.selector, TICKET), LANE, expected());
    }

    function test_RevertWhen_AnotherRegistryConfirmed() public {
        JobRegistry theirs = registryOf(ANYONE);
        JobConfirmation memory forged = jobOf(STANDARD_TICKET);
        Proof memory its = confirmIn(theirs, forged, ANYONE);
        Expected memory wanted = Expected(STANDARD_TICKET, forged.inputHash);
        assertEq(consumer.confirmedOutput(theirs, 0, wanted, forged, its), forged.outputHash);

        vm.expectRevert(abi.encodeWithSelector(JobReceipts.JobNotConfirmed.selector, STANDARD_TICKET));
        consumer.confirmedOutput(registry, 0, wanted, forged, its);
    }

    function test_RevertWhen_NoContractStandsAtTheRegistry() public {
        vm.expectRevert(bytes(""));
        consumer.confirmedOutput(IJobRegistry(ANYONE), LANE, expected(), job, proof);
    }

    /// @dev Repairs one thing after the other, and sees the next refusal each time.
    function test_RefusesInOrder() public {
        Expected memory wanted;
        JobConfirmation memory shown = jobOf(OTHER_TICKET);
        (, Proof memory its) = singleton(registry, shown);
        wanted.ticket = TICKET;
        uint8 lane = 0;

        vm.expectRevert(abi.encodeWithSelector(JobReceipts.InputHashMissing.selector, TICKET));
        consumer.confirmedOutput(registry, lane, wanted, shown, its);

        wanted.inputHash = job.inputHash;
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.LaneMismatch.selector, TICKET, LANE, uint8(0)));
        consumer.confirmedOutput(registry, lane, wanted, shown, its);

        lane = LANE;
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.TicketMismatch.selector, TICKET, OTHER_TICKET));
        consumer.confirmedOutput(registry, lane, wanted, shown, its);

        shown.ticket = TICKET;
        vm.expectRevert(
            abi.encodeWithSelector(JobReceipts.InputMismatch.selector, job.inputHash, shown.inputHash)
        );
        consumer.confirmedOutput(registry, lane, wanted, shown, its);

        shown.inputHash = job.inputHash;
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.JobNotConfirmed.selector, TICKET));
        consumer.confirmedOutput(registry, lane, wanted, shown, its);

        assertEq(consumer.confirmedOutput(registry, lane, wanted, job, proof), job.outputHash);
    }

    function testFuzz_AnExpectationThatCanBeMetPasses(uint64 ticket, bytes32 inputHash) public view {
        vm.assume(inputHash != 0);
        consumer.checkExpected(upperByteOf(ticket), Expected(ticket, inputHash));
    }

    /// @dev The registry opens a lane, and a ticket of it can be confirmed.
    function testFuzz_TheLaneIsTheRegistrys(uint64 ticket) public {
        uint8 lane = uint8(bound(ticket >> 56, 2, 31));
        ticket = (ticket & ((1 << 56) - 1)) | (uint64(lane) << 56);
        assertEq(registry.quorum(JobReceipts.laneOf(ticket)), 0);
        setQuorum(lane, 1);
        assertEq(registry.quorum(JobReceipts.laneOf(ticket)), 1);
        confirmAlone(jobOf(ticket));
    }

    function testFuzz_TheLaneIsTheUpperByte(uint64 ticket) public pure {
        assertEq(JobReceipts.laneOf(ticket), upperByteOf(ticket));
    }

    function expected() private view returns (Expected memory) {
        return Expected({ticket: TICKET, inputHash: job.inputHash});
    }

    /// @dev The confirmed job and its proof are shown to who expects `wanted` in `lane`.
    function expectRefusal(bytes memory refusal, uint8 lane, Expected memory wanted) private {
        vm.expectRevert(refusal);
        consumer.confirmedOutput(registry, lane, wanted, job, proof);
    }
}
