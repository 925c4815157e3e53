// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {TakingTwice} from "../support/TakingTwice.sol";
import {JobReceipts} from "contracts/consumer/JobReceipts.sol";
import {JobEscrow} from "contracts/examples/JobEscrow.sol";
import {IJobRegistry, JobConfirmation, Proof, Revocation, Word} from "contracts/interfaces/IJobRegistry.sol";
import {Test} from "forge-std/Test.sol";

/// @title What people do with an escrow, beside a model of what must come of it
/// @notice Every claim and refund is tried, whether it is due or not, and has to end as the model says, error included.
contract JobEscrowHandler is Test {
    /// @dev A job that may be ordered. All are the same job, input and all, each under a ticket of its own.
    struct Offer {
        JobConfirmation job;
        Word word;
        Proof proof;
        bool isConfirmed;
        bool isRevoked;
    }

    uint256 public constant FORTUNE = 100 ether;

    JobEscrow private immutable ESCROW;
    IJobRegistry private immutable REGISTRY;
    address private immutable CONFIRMER;
    address private immutable REVOKER;
    TakingTwice private immutable GREEDY;

    Offer[] private offers;
    address[] private actors;
    /// @dev The deposits that are open by the model.
    mapping(uint256 id => JobEscrow.Deposit) private orders;

    /// @dev How much everybody owns by the model.
    mapping(address actor => uint256) public wealth;

    /// @dev How many deposits were made, and how many tries to move one ended in each way.
    uint256 public count;
    uint256 public paid;
    uint256 public refunded;
    uint256 public refused;

    constructor(JobEscrow escrow, address confirmer, address revoker) {
        (ESCROW, REGISTRY, CONFIRMER, REVOKER) = (escrow, escrow.REGISTRY(), confirmer, revoker);
        GREEDY = new TakingTwice();
        actors = [makeAddr("alice"), makeAddr("bob"), makeAddr("carol"), address(GREEDY)];
        for (uint256 i = 0; i < actors.length; ++i) {
            vm.deal(actors[i], FORTUNE);
            wealth[actors[i]] = FORTUNE;
        }
    }

    function offer(JobConfirmation calldata job, Word calldata word, Proof calldata proof) external {
        offers.push(Offer({job: job, word: word, proof: proof, isConfirmed: false, isRevoked: false}));
    }

    function deposit(
        uint256 payerSeed,
        uint256 payeeSeed,
        uint256 offerSeed,
        uint256 amount,
        uint256 duration
    ) external {
        JobEscrow.Deposit memory order;
        order.payer = actors[pick(payerSeed, actors.length)];
        order.payee = actors[pick(payeeSeed, actors.length)];
        order.deadline = uint64(block.timestamp + bound(duration, 0, 1 days));
        order.amount = bound(amount, 1, order.payer.balance / 10 + 1);
        JobConfirmation memory job = offers[pick(offerSeed, offers.length)].job;
        order.ticket = job.ticket;
        // One in eight is for another input, which is never done.
        order.inputHash = pick(~offerSeed, 8) == 0 ? keccak256("another input") : job.inputHash;

        vm.prank(order.payer);
        uint256 id =
            ESCROW.deposit{value: order.amount}(order.payee, order.ticket, order.inputHash, order.deadline);

        assertEq(id, ++count, "id");
        orders[id] = order;
        wealth[order.payer] -= order.amount;
    }

    function confirm(uint256 offerSeed) external {
        Offer storage chosen = offers[pick(offerSeed, offers.length)];
        if (chosen.isConfirmed) return;
        Word[] memory words = new Word[](1);
        words[0] = chosen.word;
        vm.prank(CONFIRMER);
        REGISTRY.confirmBatch(words);
        chosen.isConfirmed = true;
    }

    /// @dev One time in sixteen, so that not every job is revoked in the end.
    function revoke(uint256 offerSeed, uint256 dice) external {
        Offer storage chosen = offers[pick(offerSeed, offers.length)];
        if (!chosen.isConfirmed || pick(dice, 16) != 0) return;
        Revocation[] memory words = new Revocation[](1);
        words[0] = Revocation({index: chosen.word.index, mask: chosen.word.mask});
        vm.prank(REVOKER);
        REGISTRY.revoke(words, "invariant");
        chosen.isRevoked = true;
    }

    function pass(uint256 duration) external {
        vm.warp(block.timestamp + bound(duration, 1, 90 minutes));
    }

    /// @dev For one of the newest deposits, mostly open, or the one to come; mostly with the job that was ordered.
    function claim(uint256 idSeed, uint256 offerSeed) external {
        uint256 id = count + 1 - pick(idSeed, count < 8 ? count + 2 : 9);
        JobEscrow.Deposit memory order = orders[id];
        Offer memory shown =
            pick(~offerSeed, 8) == 0 ? offers[pick(offerSeed, offers.length)] : offerOf(order.ticket);
        bytes memory refusal = refusalOfClaim(id, order, shown);
        GREEDY.remember(address(ESCROW), abi.encodeCall(ESCROW.claim, (id, shown.job, shown.proof)));
        try ESCROW.claim(id, shown.job, shown.proof) {
            assertEq(refusal, "", "claimed against the rules");
            leave(id, order.payee);
            ++paid;
        } catch (bytes memory reason) {
            assertEq(reason, refusal, "claim");
            ++refused;
        }
    }

    function refund(uint256 idSeed) external {
        uint256 id = pick(idSeed, count + 2);
        JobEscrow.Deposit memory order = orders[id];
        bytes memory refusal = refusalOfRefund(id, order);
        GREEDY.remember(address(ESCROW), abi.encodeCall(ESCROW.refund, (id)));
        try ESCROW.refund(id) {
            assertEq(refusal, "", "refunded against the rules");
            leave(id, order.payer);
            ++refunded;
        } catch (bytes memory reason) {
            assertEq(reason, refusal, "refund");
            ++refused;
        }
    }

    function people() external view returns (address[] memory) {
        return actors;
    }

    function orderOf(uint256 id) external view returns (JobEscrow.Deposit memory) {
        return orders[id];
    }

    /// @dev One of `among` things, all as likely, whatever the fuzzer likes best.
    function pick(uint256 seed, uint256 among) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed))) % among;
    }

    function leave(uint256 id, address receiver) private {
        wealth[receiver] += orders[id].amount;
        delete orders[id];
    }

    /// @dev The error that a claim must end with; empty if it is due.
    function refusalOfClaim(uint256 id, JobEscrow.Deposit memory order, Offer memory shown)
        private
        view
        returns (bytes memory)
    {
        JobConfirmation memory job = shown.job;
        if (order.amount == 0) return abi.encodeWithSelector(JobEscrow.NoSuchDeposit.selector, id);
        if (order.deadline < vm.getBlockTimestamp()) {
            return abi.encodeWithSelector(JobEscrow.DeadlinePassed.selector, order.deadline, block.timestamp);
        }
        if (job.ticket != order.ticket) {
            return abi.encodeWithSelector(JobReceipts.TicketMismatch.selector, order.ticket, job.ticket);
        }
        if (job.inputHash != order.inputHash) {
            return abi.encodeWithSelector(JobReceipts.InputMismatch.selector, order.inputHash, job.inputHash);
        }
        if (!shown.isConfirmed || shown.isRevoked) {
            return abi.encodeWithSelector(JobReceipts.JobNotConfirmed.selector, job.ticket);
        }
        return "";
    }

    /// @dev The error that a refund must end with; empty if it is due.
    function refusalOfRefund(uint256 id, JobEscrow.Deposit memory order) private view returns (bytes memory) {
        if (order.amount == 0) return abi.encodeWithSelector(JobEscrow.NoSuchDeposit.selector, id);
        if (order.deadline >= vm.getBlockTimestamp()) {
            return abi.encodeWithSelector(JobEscrow.DeadlineAhead.selector, order.deadline, block.timestamp);
        }
        return "";
    }

    /// @dev The offer with this ticket, or the first where there is none.
    function offerOf(uint64 ticket) private view returns (Offer memory) {
        for (uint256 i = 0; i < offers.length; ++i) {
            if (offers[i].job.ticket == ticket) return offers[i];
        }
        return offers[0];
    }
}
