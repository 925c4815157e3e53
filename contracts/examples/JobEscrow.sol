// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.20;

import {Expected, JobReceipts} from "../consumer/JobReceipts.sol";
import {IJobRegistry, JobConfirmation, Proof} from "../interfaces/IJobRegistry.sol";
import {ERC165Checker} from "@openzeppelin/contracts/utils/introspection/ERC165Checker.sol";

/// @title Money for a job
/// @notice A payer deposits ETH for one job, named by its ticket and input. Until the deadline, and in its second, the
/// deposit goes to the payee if the job is confirmed; afterwards it goes back to the payer. Each deposit leaves once.
///
/// Anyone may bring a receipt or ask for a refund, since neither can send the money anywhere else. Deposits have ids of
/// their own: nobody can take a ticket from others by depositing for it first, and several payers may pay for one job.
///
/// The payee bears what happens to the confirmation before the claim. The registry's revoker can revoke the job, and a pause
/// that lasts across the deadline keeps it from being confirmed in time: then the payer has its money back, though the work was
/// done. So it claims as soon as the job is confirmed, and agrees to no deadline without room for a pause.
/// @dev The deposit is deleted before its money leaves, so whoever is called with it finds nothing more to take. Money is
/// pushed: each call moves one deposit to one account, so an account that refuses it stops nobody else. A payee that
/// refuses loses to the refund; a payer that cannot receive has locked up its own money.
contract JobEscrow {
    using JobReceipts for IJobRegistry;

    /// @notice What is held under an id; all zero if nothing is, any more.
    /// @param payer Gets the money back after the deadline.
    /// @param deadline The last second, in Unix time, at which the payee can be paid.
    /// @param payee Gets the money for the confirmed job.
    /// @param ticket The job's identity on chain.
    /// @param inputHash The job's input, as the registry's confirmations have it.
    /// @param amount In wei.
    struct Deposit {
        address payer;
        uint64 deadline;
        address payee;
        uint64 ticket;
        bytes32 inputHash;
        uint256 amount;
    }

    /// @dev As many lanes can have a quorum in a registry.
    uint8 private constant LANES = 32;

    /// @notice The registry whose confirmations count.
    IJobRegistry public immutable REGISTRY;
    /// @notice The lane whose confirmations count; how many confirmers it needs is set in the registry.
    uint8 public immutable LANE;

    /// @notice How many deposits there ever were: the newest id. The first is 1.
    uint256 public count;
    /// @notice The open deposits.
    mapping(uint256 id => Deposit) public deposits;

    /// @notice Money was deposited for a job.
    event Deposited(
        uint256 indexed id,
        uint64 indexed ticket,
        address indexed payee,
        address payer,
        bytes32 inputHash,
        uint64 deadline,
        uint256 amount
    );

    /// @notice The job was confirmed and the payee paid.
    /// @param outputHash SHA-256 of the job's output.
    event Paid(uint256 indexed id, address indexed payee, uint256 amount, bytes32 outputHash);

    /// @notice The deadline passed and the payer has its money back.
    event Refunded(uint256 indexed id, address indexed payer, uint256 amount);

    /// @notice This account does not say of itself that it is a registry.
    error NotARegistry(address account);

    /// @notice No ticket of this lane can ever be confirmed: only those below 32 can have a quorum.
    error LaneNeverOpens(uint8 lane);

    /// @notice There is nobody to pay.
    error PayeeMissing();

    /// @notice There is nothing to pay.
    error AmountMissing();

    /// @notice Nothing is held under this id: there never was, or it has left.
    error NoSuchDeposit(uint256 id);

    /// @notice The deadline, in Unix seconds, lies in the past: nothing can be deposited or claimed any more.
    error DeadlinePassed(uint64 deadline, uint256 time);

    /// @notice The deadline, in Unix seconds, is still to pass: nothing can be refunded yet.
    error DeadlineAhead(uint64 deadline, uint256 time);

    /// @notice The receiver did not take the money; the deposit stays.
    error PaymentRefused(uint256 id, address receiver, uint256 amount);

    /// @notice An escrow for jobs that `registry` confirms in `lane`, for good.
    /// @dev Reverts with `NotARegistry` or `LaneNeverOpens`.
    constructor(IJobRegistry registry, uint8 lane) {
        if (!ERC165Checker.supportsInterface(address(registry), type(IJobRegistry).interfaceId)) {
            revert NotARegistry(address(registry));
        }
        if (lane >= LANES) revert LaneNeverOpens(lane);
        REGISTRY = registry;
        LANE = lane;
    }

    /// @notice Deposits the ETH sent for a job. Anyone may call, and becomes the payer.
    /// @dev Reverts with `PayeeMissing`, `AmountMissing`, `DeadlinePassed`, or as `JobReceipts.checkExpected` does for an
    /// input hash of zero and a ticket of another lane.
    /// @param payee Gets the money for the confirmed job.
    /// @param ticket The job's identity on chain.
    /// @param inputHash The job's input, as the registry's confirmations have it.
    /// @param deadline The last second, in Unix time, at which the payee can be paid.
    /// @return id The deposit's id.
    function deposit(address payee, uint64 ticket, bytes32 inputHash, uint64 deadline)
        external
        payable
        returns (uint256 id)
    {
        if (payee == address(0)) revert PayeeMissing();
        if (msg.value == 0) revert AmountMissing();
        if (_isPast(deadline)) revert DeadlinePassed(deadline, block.timestamp);
        JobReceipts.checkExpected(LANE, Expected({ticket: ticket, inputHash: inputHash}));

        id = ++count;
        deposits[id] = Deposit(msg.sender, deadline, payee, ticket, inputHash, msg.value);
        emit Deposited(id, ticket, payee, msg.sender, inputHash, deadline, msg.value);
    }

    /// @notice Pays a deposit to its payee against the receipt of its job. Anyone may call, until the deadline.
    /// @dev Reverts with `NoSuchDeposit`, `DeadlinePassed`, `PaymentRefused`, or as `JobReceipts.confirmedOutput` does.
    function claim(uint256 id, JobConfirmation calldata job, Proof calldata proof) external {
        Deposit memory held = _take(id);
        if (_isPast(held.deadline)) revert DeadlinePassed(held.deadline, block.timestamp);
        Expected memory expected = Expected({ticket: held.ticket, inputHash: held.inputHash});
        bytes32 outputHash = REGISTRY.confirmedOutput(LANE, expected, job, proof);
        emit Paid(id, held.payee, held.amount, outputHash);
        _send(id, held.payee, held.amount);
    }

    /// @notice Gives a deposit back to its payer. Anyone may call, once the deadline has passed.
    /// @dev Reverts with `NoSuchDeposit`, `DeadlineAhead` or `PaymentRefused`.
    function refund(uint256 id) external {
        Deposit memory held = _take(id);
        if (!_isPast(held.deadline)) revert DeadlineAhead(held.deadline, block.timestamp);
        emit Refunded(id, held.payer, held.amount);
        _send(id, held.payer, held.amount);
    }

    function _take(uint256 id) private returns (Deposit memory held) {
        held = deposits[id];
        if (held.amount == 0) revert NoSuchDeposit(id);
        delete deposits[id];
    }

    function _send(uint256 id, address receiver, uint256 amount) private {
        // A transfer of 2,300 gas would shut out accounts that are contracts.
        // slither-disable-next-line low-level-calls
        (bool isTaken,) = receiver.call{value: amount}("");
        if (!isTaken) revert PaymentRefused(id, receiver, amount);
    }

    /// @dev The seconds by which a validator can shift the time are the payer's to leave room for.
    function _isPast(uint64 deadline) private view returns (bool) {
        // slither-disable-next-line timestamp
        return block.timestamp > deadline; // forge-lint: disable-line(block-timestamp)
    }
}
