// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ConsumerTest} from "../support/ConsumerTest.sol";
import {TakingTwice} from "../support/TakingTwice.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {JobReceipts} from "contracts/consumer/JobReceipts.sol";
import {JobEscrow} from "contracts/examples/JobEscrow.sol";
import {IJobRegistry, JobConfirmation, Proof} from "contracts/interfaces/IJobRegistry.sol";

contract JobEscrowTest is ConsumerTest {
    uint256 private constant AMOUNT = 3 ether;

    address private immutable PAYER = makeAddr("payer");
    address private immutable PAYEE = makeAddr("payee");

    JobEscrow private escrow;
    JobConfirmation private job;
    uint64 private deadline;

    function setUp() public override {
        super.setUp();
        escrow = new JobEscrow(registry, LANE);
        job = jobOf(TICKET);
        deadline = uint64(block.timestamp + 1 days);
        vm.deal(PAYER, 100 ether);
    }

    function test_KeepsRegistryAndLane() public view {
        assertEq(address(escrow.REGISTRY()), address(registry));
        assertEq(escrow.LANE(), LANE);
    }

    function test_RevertWhen_TheRegistryIsNone() public {
        address[3] memory accounts = [ANYONE, address(0), address(escrow)];
        for (uint256 i = 0; i < accounts.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(JobEscrow.NotARegistry.selector, accounts[i]));
            new JobEscrow(IJobRegistry(accounts[i]), LANE);
        }
    }

    function testFuzz_RevertWhen_TheLaneNeverOpens(uint8 lane) public {
        lane = uint8(bound(lane, 32, 255));
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.LaneNeverOpens.selector, lane));
        new JobEscrow(registry, lane);
        assertEq(new JobEscrow(registry, 31).LANE(), 31);
    }

    function test_RevertWhen_ThereIsNoPayee() public {
        vm.expectRevert(JobEscrow.PayeeMissing.selector);
        deposit(AMOUNT, address(0), TICKET, job.inputHash, deadline);
    }

    function test_RevertWhen_NothingIsSent() public {
        vm.expectRevert(JobEscrow.AmountMissing.selector);
        deposit(0, PAYEE, TICKET, job.inputHash, deadline);
    }

    function testFuzz_RevertWhen_TheDeadlineLiesInThePast(uint64 past) public {
        past = uint64(bound(past, 0, block.timestamp - 1));
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.DeadlinePassed.selector, past, block.timestamp));
        deposit(AMOUNT, PAYEE, TICKET, job.inputHash, past);
    }

    function test_RevertWhen_ThereIsNoInputHash() public {
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.InputHashMissing.selector, TICKET));
        deposit(AMOUNT, PAYEE, TICKET, 0, deadline);
    }

    function testFuzz_RevertWhen_TheTicketLiesInAnotherLane(uint64 ticket) public {
        uint8 lane = upperByteOf(ticket);
        vm.assume(lane != LANE);
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.LaneMismatch.selector, ticket, lane, LANE));
        deposit(AMOUNT, PAYEE, ticket, job.inputHash, deadline);
    }

    function testFuzz_TakesADeposit(
        address payee,
        uint56 rest,
        bytes32 inputHash,
        uint64 until,
        uint96 amount
    ) public {
        vm.assume(payee != address(0) && inputHash != 0 && amount != 0);
        uint64 ticket = (uint64(LANE) << 56) | rest;
        until = uint64(bound(until, block.timestamp, type(uint64).max));
        vm.deal(PAYER, amount);

        vm.expectEmit(address(escrow));
        emit JobEscrow.Deposited(1, ticket, payee, PAYER, inputHash, until, amount);
        assertEq(deposit(amount, payee, ticket, inputHash, until), 1);

        assertEq(address(escrow).balance, amount);
        assertEq(PAYER.balance, 0);
        expectHeld(1, JobEscrow.Deposit(PAYER, until, payee, ticket, inputHash, amount));
    }

    function test_GivesEachDepositAnIdOfItsOwn() public {
        for (uint256 id = 1; id <= 3; ++id) {
            assertEq(depositForJob(), id);
            assertEq(escrow.count(), id);
        }
    }

    function test_TakesNoMoneyWithoutAnOrder() public {
        vm.prank(PAYER);
        (bool success,) = address(escrow).call{value: 1}("");
        assertFalse(success);
    }

    function test_PaysThePayeeWhoeverClaims() public {
        uint256 id = depositForJob();
        Proof memory proof = confirmTogether(job);

        vm.expectEmit(address(escrow));
        emit JobEscrow.Paid(id, PAYEE, AMOUNT, job.outputHash);
        vm.prank(ANYONE);
        escrow.claim(id, job, proof);

        assertEq(PAYEE.balance, AMOUNT);
        assertEq(address(escrow).balance, 0);
        expectGone(id, proof);
    }

    function test_PaysInTheSecondOfTheDeadlineAndNotAfter() public {
        uint256 id = depositForJob();
        uint256 late = depositForJob();
        Proof memory proof = confirmTogether(job);

        vm.warp(deadline);
        escrow.claim(id, job, proof);
        assertEq(PAYEE.balance, AMOUNT);

        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.DeadlinePassed.selector, deadline, deadline + 1));
        escrow.claim(late, job, proof);
        escrow.refund(late);
        assertEq(PAYEE.balance, AMOUNT);
    }

    function test_PaysWhileTheRegistryIsPaused() public {
        uint256 id = depositForJob();
        Proof memory proof = confirmTogether(job);
        pause();
        escrow.claim(id, job, proof);
        assertEq(PAYEE.balance, AMOUNT);
    }

    function test_PaysForAJobThatWasConfirmedBefore() public {
        Proof memory proof = confirmTogether(job);
        escrow.claim(depositForJob(), job, proof);
        assertEq(PAYEE.balance, AMOUNT);
    }

    /// @dev A stranger's deposit on the same ticket, to his own account and with another input, is in nobody's way.
    function test_SeveralDepositsForOneTicketStandEachForItself() public {
        vm.deal(ANYONE, 1);
        vm.prank(ANYONE);
        uint256 squat = escrow.deposit{value: 1}(ANYONE, TICKET, keccak256("another input"), deadline);
        uint256 id = depositForJob();
        uint256 another = depositForJob();
        Proof memory proof = confirmTogether(job);

        vm.expectRevert(
            abi.encodeWithSelector(
                JobReceipts.InputMismatch.selector, keccak256("another input"), job.inputHash
            )
        );
        escrow.claim(squat, job, proof);

        escrow.claim(another, job, proof);
        assertEq(PAYEE.balance, AMOUNT);
        escrow.claim(id, job, proof);
        assertEq(PAYEE.balance, 2 * AMOUNT);
        assertEq(address(escrow).balance, 1);
    }

    function test_RevertWhen_TheJobIsNotConfirmed() public {
        uint256 id = depositForJob();
        (, Proof memory proof) = singleton(registry, job);
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.JobNotConfirmed.selector, TICKET));
        escrow.claim(id, job, proof);
    }

    function testFuzz_RevertWhen_NothingIsHeld(uint256 id) public {
        depositForJob();
        vm.assume(id != 1);
        Proof memory proof = confirmTogether(job);
        expectGone(id, proof);
    }

    /// @dev The confirmers are dishonest: one job, under two tickets, with two outputs, and both verify.
    function test_IsNotFooledByTheSameJobUnderTwoTickets() public {
        uint256 id = depositForJob();
        JobConfirmation memory twin = twinOf(job, OTHER_TICKET);
        Proof memory proof = confirmTogether(job);
        Proof memory twinProof = confirmTogether(twin);
        assertTrue(registry.verify(job, proof) && registry.verify(twin, twinProof));
        assertEq(twin.jobId, job.jobId);
        assertEq(twin.inputHash, job.inputHash);
        assertNotEq(twin.outputHash, job.outputHash);

        vm.expectRevert(abi.encodeWithSelector(JobReceipts.TicketMismatch.selector, TICKET, OTHER_TICKET));
        escrow.claim(id, twin, twinProof);

        escrow.claim(id, job, proof);
        assertEq(PAYEE.balance, AMOUNT);
        vm.expectRevert(abi.encodeWithSelector(JobEscrow.NoSuchDeposit.selector, id));
        escrow.claim(id, twin, twinProof);
        expectGone(id, proof);
    }

    /// @dev A single confirmer is dishonest: he may confirm anything in lane 0, and it verifies.
    function test_IsNotFooledByCriticalContentInTheStandardLane() public {
        uint256 id = depositForJob();
        JobConfirmation memory forged = twinOf(job, STANDARD_TICKET);
        Proof memory proof = confirmAlone(forged);
        assertTrue(registry.verify(forged, proof));

        vm.expectRevert(abi.encodeWithSelector(JobReceipts.TicketMismatch.selector, TICKET, STANDARD_TICKET));
        escrow.claim(id, forged, proof);
        vm.expectRevert(
            abi.encodeWithSelector(JobReceipts.LaneMismatch.selector, STANDARD_TICKET, uint8(0), LANE)
        );
        deposit(AMOUNT, PAYEE, STANDARD_TICKET, job.inputHash, deadline);
        assertEq(PAYEE.balance, 0);
    }

    function test_IsNotFooledByAnImpostorRegistry() public {
        uint256 id = depositForJob();
        JobRegistry theirs = registryOf(ANYONE);
        vm.prank(ANYONE);
        theirs.setQuorum(LANE, 1);
        Proof memory proof = confirmIn(theirs, job, ANYONE);
        assertTrue(theirs.verify(job, proof));

        vm.expectRevert(abi.encodeWithSelector(JobReceipts.JobNotConfirmed.selector, TICKET));
        escrow.claim(id, job, proof);
    }

    function test_PaysNothingForARevokedJobAndRefundsIt() public {
        uint256 id = depositForJob();
        Proof memory proof = confirmTogether(job);
        revoke(TICKET);
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.JobNotConfirmed.selector, TICKET));
        escrow.claim(id, job, proof);

        vm.warp(deadline + 1);
        escrow.refund(id);
        assertEq(PAYER.balance, 100 ether);
        assertEq(PAYEE.balance, 0);
    }

    function testFuzz_RefundsThePayerAfterTheDeadlineWhoeverAsks(uint64 time) public {
        uint256 id = depositForJob();
        Proof memory proof = confirmTogether(job);
        vm.warp(bound(time, deadline + 1, type(uint64).max));

        vm.expectEmit(address(escrow));
        emit JobEscrow.Refunded(id, PAYER, AMOUNT);
        vm.prank(ANYONE);
        escrow.refund(id);

        assertEq(PAYER.balance, 100 ether);
        assertEq(address(escrow).balance, 0);
        expectGone(id, proof);
    }

    function testFuzz_RevertWhen_RefundedByTheDeadline(uint64 time) public {
        uint256 id = depositForJob();
        vm.warp(bound(time, block.timestamp, deadline));
        vm.expectRevert(
            abi.encodeWithSelector(JobEscrow.DeadlineAhead.selector, deadline, vm.getBlockTimestamp())
        );
        vm.prank(PAYER);
        escrow.refund(id);
    }

    /// @dev The escrow itself takes no money, and is a payee as good as any that refuses.
    function test_RevertWhen_ThePayeeRefusesAndRefundsLater() public {
        uint256 id = deposit(AMOUNT, address(escrow), TICKET, job.inputHash, deadline);
        Proof memory proof = confirmTogether(job);
        vm.expectRevert(
            abi.encodeWithSelector(JobEscrow.PaymentRefused.selector, id, address(escrow), AMOUNT)
        );
        escrow.claim(id, job, proof);
        expectHeld(id, JobEscrow.Deposit(PAYER, deadline, address(escrow), TICKET, job.inputHash, AMOUNT));

        vm.warp(deadline + 1);
        escrow.refund(id);
        assertEq(PAYER.balance, 100 ether);
    }

    function test_RevertWhen_ThePayerRefusesItsRefund() public {
        vm.deal(address(registry), AMOUNT);
        vm.prank(address(registry)); // a contract that takes no money
        uint256 id = escrow.deposit{value: AMOUNT}(PAYEE, TICKET, job.inputHash, deadline);
        vm.warp(deadline + 1);
        vm.expectRevert(
            abi.encodeWithSelector(JobEscrow.PaymentRefused.selector, id, address(registry), AMOUNT)
        );
        escrow.refund(id);
        assertEq(address(escrow).balance, AMOUNT);
    }

    function test_APayeeThatClaimsAgainIsPaidOnce() public {
        TakingTwice payee = new TakingTwice();
        uint256 id = deposit(AMOUNT, address(payee), TICKET, job.inputHash, deadline);
        depositForJob(); // what else it could reach for
        Proof memory proof = confirmTogether(job);
        payee.remember(address(escrow), abi.encodeCall(escrow.claim, (id, job, proof)));

        escrow.claim(id, job, proof);
        assertEq(payee.refusal(), abi.encodeWithSelector(JobEscrow.NoSuchDeposit.selector, id));
        assertEq(address(payee).balance, AMOUNT);
        assertEq(address(escrow).balance, AMOUNT);
    }

    function test_APayerThatAsksAgainIsRefundedOnce() public {
        TakingTwice payer = new TakingTwice();
        depositForJob();
        vm.deal(address(payer), AMOUNT);
        vm.prank(address(payer));
        uint256 id = escrow.deposit{value: AMOUNT}(PAYEE, TICKET, job.inputHash, deadline);
        payer.remember(address(escrow), abi.encodeCall(escrow.refund, (id)));

        vm.warp(deadline + 1);
        escrow.refund(id);
        assertEq(payer.refusal(), abi.encodeWithSelector(JobEscrow.NoSuchDeposit.selector, id));
        assertEq(address(payer).balance, AMOUNT);
        assertEq(address(escrow).balance, AMOUNT);
    }

    function depositForJob() private returns (uint256 id) {
        return deposit(AMOUNT, PAYEE, TICKET, job.inputHash, deadline);
    }

    function deposit(uint256 amount, address payee, uint64 ticket, bytes32 inputHash, uint64 until)
        private
        returns (uint256 id)
    {
        vm.prank(PAYER);
        return escrow.deposit{value: amount}(payee, ticket, inputHash, until);
    }

    function expectHeld(uint256 id, JobEscrow.Deposit memory wanted) private view {
        JobEscrow.Deposit memory held;
        (held.payer, held.deadline, held.payee, held.ticket, held.inputHash, held.amount) =
            escrow.deposits(id);
        assertEq(abi.encode(held), abi.encode(wanted));
    }

    /// @dev Neither way out is open, now or after the deadline.
    function expectGone(uint256 id, Proof memory proof) private {
        JobEscrow.Deposit memory nothing;
        expectHeld(id, nothing);
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(abi.encodeWithSelector(JobEscrow.NoSuchDeposit.selector, id));
            escrow.claim(id, job, proof);
            vm.expectRevert(abi.encodeWithSelector(JobEscrow.NoSuchDeposit.selector, id));
            escrow.refund(id);
            vm.warp(deadline + 1);
        }
    }
}
