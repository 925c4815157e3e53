// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ConsumerTest} from "../support/ConsumerTest.sol";
import {JobEscrowHandler} from "./JobEscrowHandler.sol";
import {JobEscrow} from "contracts/examples/JobEscrow.sol";
import {JobConfirmation, Proof, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @dev Of lane 0, where one confirmer is enough: the money does not depend on the lane.
/// forge-config: default.invariant.runs = 32
/// forge-config: default.invariant.depth = 200
/// forge-config: default.invariant.fail-on-revert = true
contract JobEscrowInvariantTest is ConsumerTest {
    JobEscrow private escrow;
    JobEscrowHandler private handler;

    function setUp() public override {
        super.setUp();
        escrow = new JobEscrow(registry, 0);
        handler = new JobEscrowHandler(escrow, CONFIRMER, REVOKER);
        for (uint64 i = 0; i < 8; ++i) {
            // Two tickets a word, each confirmed by a batch of its own.
            JobConfirmation memory job = twinOf(jobOf(TICKET), ticketAt(i / 2, i));
            (Word memory word, Proof memory proof) = singleton(registry, job);
            handler.offer(job, word, proof);
        }

        bytes4[] memory actions = new bytes4[](6);
        (actions[0], actions[1], actions[2]) =
        (handler.deposit.selector, handler.claim.selector, handler.refund.selector);
        (actions[3], actions[4], actions[5]) =
        (handler.confirm.selector, handler.revoke.selector, handler.pass.selector);
        targetSelector(FuzzSelector({addr: address(handler), selectors: actions}));
        targetContract(address(handler));
    }

    function invariant_TheEscrowHoldsExactlyTheOpenDeposits() public view {
        assertEq(escrow.count(), handler.count());
        uint256 sum;
        for (uint256 id = 0; id <= escrow.count() + 1; ++id) {
            JobEscrow.Deposit memory held = heldUnder(id);
            assertEq(abi.encode(held), abi.encode(handler.orderOf(id)));
            sum += held.amount;
        }
        assertEq(address(escrow).balance, sum);
    }

    function invariant_EverybodyOwnsWhatTheModelSays() public view {
        address[] memory people = handler.people();
        uint256 sum = address(escrow).balance;
        for (uint256 i = 0; i < people.length; ++i) {
            assertEq(people[i].balance, handler.wealth(people[i]));
            sum += people[i].balance;
        }
        assertEq(sum, people.length * handler.FORTUNE());
    }

    /// @dev A handler that never paid, never refunded or never refused would show little.
    function test_TheHandlerReachesEveryEnd() public {
        for (uint256 i = 0; i < 64; ++i) {
            handler.deposit({payerSeed: i, payeeSeed: i, offerSeed: i, amount: 1 ether, duration: 1 hours});
            handler.confirm(i);
            handler.claim({idSeed: i, offerSeed: i});
            handler.pass(10 minutes);
            handler.refund(i);
        }
        assertGt(handler.paid(), 0);
        assertGt(handler.refunded(), 0);
        assertGt(handler.refused(), 0);
    }

    function heldUnder(uint256 id) private view returns (JobEscrow.Deposit memory held) {
        (held.payer, held.deadline, held.payee, held.ticket, held.inputHash, held.amount) =
            escrow.deposits(id);
    }
}
