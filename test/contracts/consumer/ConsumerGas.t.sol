// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ConsumerTest} from "../support/ConsumerTest.sol";
import {Expected, JobReceipts} from "contracts/consumer/JobReceipts.sol";
import {JobEscrow} from "contracts/examples/JobEscrow.sol";
import {IJobRegistry, JobConfirmation, Proof, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @dev Takes a receipt, and says how much gas the check took inside. What the whole transaction pays would show less:
/// where nothing is checked, the floor price of the calldata (EIP-7623) binds.
contract Taker {
    using JobReceipts for IJobRegistry;

    IJobRegistry private immutable REGISTRY;

    event Taken(bytes32 outputHash);

    constructor(IJobRegistry registry) {
        REGISTRY = registry;
    }

    function byVerify(JobConfirmation calldata job, Proof calldata proof) external returns (uint256 gas) {
        gas = gasleft();
        require(REGISTRY.verify(job, proof));
        gas -= gasleft();
        emit Taken(job.outputHash);
    }

    function byJobReceipts(Expected calldata expected, JobConfirmation calldata job, Proof calldata proof)
        external
        returns (uint256 gas)
    {
        gas = gasleft();
        bytes32 outputHash = REGISTRY.confirmedOutput(0, expected, job, proof);
        gas -= gasleft();
        emit Taken(outputHash);
    }
}

/// @dev Each call from the test is a transaction of its own: cold storage, 21,000 and calldata included.
/// forge-config: default.isolate = true
contract ConsumerGasTest is ConsumerTest {
    uint64 private constant INDEX = 1 << 40;
    uint256 private constant POSITION = 200;

    JobConfirmation private job;
    Expected private order;
    Proof private proof;

    /// @dev The job is one of 4,096, and its proof has four siblings in the batch tree.
    function setUp() public override {
        super.setUp();
        job = jobOf(ticketAt(INDEX, POSITION));
        order = Expected({ticket: job.ticket, inputHash: job.inputHash});
        Word[] memory batch = opaqueWords(INDEX, 16, DENSE);
        batch[0] = wordOf(INDEX, DENSE);
        confirm(batch);
        proof = proofOf(batch, 0, POSITION);
    }

    function test_CheckOfOneOf4096Jobs() public {
        Taker taker = new Taker(registry);
        uint256 bare = taker.byVerify(job, proof);
        uint256 whole = taker.byJobReceipts(order, job, proof);
        vm.snapshotValue("consumer", "verify from a contract", bare);
        vm.snapshotValue("consumer", "verify from a contract by JobReceipts", whole);
        assertLt(whole - bare, 1000);
    }

    function test_Escrow() public {
        vm.deal(ANYONE, 1); // an account that exists
        JobEscrow escrow = new JobEscrow(registry, 0);
        escrow.deposit{value: 1 ether}(ANYONE, job.ticket, job.inputHash, uint64(block.timestamp));
        vm.snapshotGasLastCall("consumer", "deposit in an escrow");
        escrow.claim(1, job, proof);
        vm.snapshotGasLastCall("consumer", "claim from an escrow");
    }
}
