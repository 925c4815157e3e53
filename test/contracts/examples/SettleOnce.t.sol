// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ConsumerTest} from "../support/ConsumerTest.sol";
import {JobReceipts} from "contracts/consumer/JobReceipts.sol";
import {SettleOnce} from "contracts/examples/SettleOnce.sol";
import {JobConfirmation, Proof} from "contracts/interfaces/IJobRegistry.sol";

contract SettleOnceTest is ConsumerTest {
    SettleOnce private order;
    JobConfirmation private job;

    function setUp() public override {
        super.setUp();
        job = jobOf(TICKET);
        order = new SettleOnce(registry, TICKET, job.inputHash);
    }

    function test_RevertWhen_OrderedWithoutInput() public {
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.InputHashMissing.selector, TICKET));
        new SettleOnce(registry, TICKET, 0);
    }

    function test_RevertWhen_OrderedInAnotherLane() public {
        vm.expectRevert(
            abi.encodeWithSelector(JobReceipts.LaneMismatch.selector, STANDARD_TICKET, uint8(0), LANE)
        );
        new SettleOnce(registry, STANDARD_TICKET, job.inputHash);
    }

    function test_SettlesOnceWhoeverCalls() public {
        Proof memory proof = confirmTogether(job);
        vm.expectEmit(address(order));
        emit SettleOnce.Settled(TICKET, job.outputHash);
        vm.prank(ANYONE);
        order.settle(job, proof);

        vm.expectRevert(abi.encodeWithSelector(JobReceipts.InputHashMissing.selector, 0));
        order.settle(job, proof);
    }

    function test_AFailedTryLeavesTheOrder() public {
        (, Proof memory proof) = singleton(registry, job);
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.JobNotConfirmed.selector, TICKET));
        order.settle(job, proof);

        confirmTogether(job);
        vm.expectEmit(address(order));
        emit SettleOnce.Settled(TICKET, job.outputHash);
        order.settle(job, proof);
    }

    function test_IsNotFooledByTheSameJobUnderAnotherTicket() public {
        JobConfirmation memory twin = twinOf(job, OTHER_TICKET);
        Proof memory proof = confirmTogether(twin);
        assertTrue(registry.verify(twin, proof));
        vm.expectRevert(abi.encodeWithSelector(JobReceipts.TicketMismatch.selector, TICKET, OTHER_TICKET));
        order.settle(twin, proof);
    }
}
