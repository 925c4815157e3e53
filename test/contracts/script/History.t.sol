// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ScriptTest} from "./support/ScriptTest.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {History} from "script/support/History.sol";
import {Plans} from "script/support/Plan.sol";
import {Grant, Roles} from "script/support/Roles.sol";

contract HistoryTest is ScriptTest {
    using Roles for Grant[];

    address private immutable LATER = makeAddr("later");

    JobRegistry private registry;
    TimelockController private timelock;

    /// @dev Roles are given in three blocks: at the birth, 10 and 20 blocks later. The head is 5 blocks further.
    function setUp() public override {
        super.setUp();
        (registry, timelock) = deployWithTimelock();
        node.listen();
        vm.roll(BIRTH + 10);
        grantAndAgain(ANYONE);
        vm.roll(BIRTH + 20);
        grantAndAgain(LATER);
        vm.roll(BIRTH + 25);
    }

    function test_FindsEveryGrantOnce() public {
        (Grant[] memory grants, bool whole) = History.grants(nodeVm(), address(registry), 0);
        assertTrue(whole);
        assertEq(grants.length, 8);
        assertTrue(grants.contain(0, ADMIN));
        assertTrue(grants.contain(UPGRADER_ROLE, address(timelock)));
        assertTrue(grants.contain(REVOKER_ROLE, REVOKER));
        assertTrue(grants.contain(PAUSER_ROLE, PAUSER));
        assertTrue(grants.contain(CONFIRMER_ROLE, CONFIRMER));
        assertTrue(grants.contain(CONFIRMER_ROLE, OTHER_CONFIRMER));
        assertTrue(grants.contain(CONFIRMER_ROLE, ANYONE));
        assertTrue(grants.contain(CONFIRMER_ROLE, LATER));
    }

    function test_FindsNothingOfOthers() public {
        (Grant[] memory grants, bool whole) = History.grants(nodeVm(), address(timelock), 0);
        assertTrue(whole);
        assertEq(grants.length, 4);
        (grants, whole) = History.grants(nodeVm(), ANYONE, 0);
        assertFalse(whole);
        assertEq(grants.length, 0);
    }

    /// @dev However narrow the ranges are that a node answers, down to single blocks.
    function testFuzz_AsksForWhatTheNodeAnswers(uint256 blocks) public {
        (Grant[] memory all,) = History.grants(nodeVm(), address(registry), 0);
        node.limit(bound(blocks, 1, BIRTH + 100));
        (Grant[] memory grants, bool whole) = History.grants(nodeVm(), address(registry), BIRTH);
        assertTrue(whole);
        assertEq(keccak256(abi.encode(grants)), keccak256(abi.encode(all)));
    }

    function test_AsksOnceWhereTheNodeAnswersAtOnce() public {
        History.grants(nodeVm(), address(registry), 0);
        assertEq(node.answered(), 1);
    }

    function test_IsNotWholeWithoutTheCreation() public {
        assertReachesBack(BIRTH);
        node.prune();
        assertReachesBack(BIRTH);
    }

    /// @dev The events of a creation alone prove nothing: a timelock without delay can be given one later.
    function test_IsNotWholeWhereItOnlyLooksCreated() public {
        address[] memory operators = new address[](1);
        operators[0] = ADMIN;
        timelock = new TimelockController(0, operators, operators, address(this));
        node.listen();
        vm.roll(BIRTH + 26);
        timelock.grantRole(keccak256("PROPOSER_ROLE"), ANYONE);
        throughTimelock(timelock, address(timelock), abi.encodeCall(timelock.updateDelay, (TIMELOCK_DELAY)));
        (Grant[] memory grants, bool whole) = History.grants(nodeVm(), address(timelock), BIRTH + 26);
        assertEq(grants.length, 1);
        assertFalse(whole);
    }

    function test_FindsImplementationsAndOperationsOnce() public {
        address[2] memory next = [address(new JobRegistry()), address(new JobRegistry())];
        bytes32[] memory expected = new bytes32[](4);
        for (uint256 i = 0; i < 4; ++i) {
            bytes memory upgrade = abi.encodeCall(registry.upgradeToAndCall, (next[i % 2], ""));
            expected[i] = timelock.hashOperation(address(registry), 0, upgrade, 0, bytes32(i));
            vm.startPrank(ADMIN);
            timelock.schedule(address(registry), 0, upgrade, 0, bytes32(i), TIMELOCK_DELAY);
            skip(TIMELOCK_DELAY);
            timelock.execute(address(registry), 0, upgrade, 0, bytes32(i));
            vm.stopPrank();
        }
        address[] memory ran = History.implementations(nodeVm(), address(registry), BIRTH);
        assertEq(ran.length, 3);
        assertEq(ran[0], Plans.implementation());
        assertEq(ran[1], next[0]);
        assertEq(ran[2], next[1]);
        assertEq(History.operations(nodeVm(), address(timelock), BIRTH), expected);
    }

    function test_RevertWhen_TheNodeRefusesSingleBlocks() public {
        node.limit(0);
        vm.expectRevert(
            bytes(
                string.concat(
                    "the node refuses the events of ",
                    vm.toString(address(registry)),
                    " even for block 900 alone: range too large"
                )
            )
        );
        this.read(900);
    }

    function test_BirthIsTheBlockOfTheFirstGrant() public {
        assertEq(History.birth(nodeVm(), address(registry)), BIRTH);
        assertEq(History.birth(nodeVm(), address(timelock)), BIRTH);
        assertEq(History.birth(nodeVm(), ANYONE), 0);
    }

    function test_BirthIsZeroWhereTheNodeDoesNotSearchThatFar() public {
        node.limit(100);
        assertEq(History.birth(nodeVm(), address(registry)), 0);
    }

    /// @dev Gives a role to `account`, and to an account that has it already, once more.
    function grantAndAgain(address account) private {
        vm.startPrank(ADMIN);
        registry.grantRole(CONFIRMER_ROLE, account);
        registry.revokeRole(CONFIRMER_ROLE, CONFIRMER);
        registry.grantRole(CONFIRMER_ROLE, CONFIRMER);
        vm.stopPrank();
        node.listen();
    }

    function assertReachesBack(uint256 born) private {
        for (uint256 i = 0; i < 2; ++i) {
            address emitter = i == 0 ? address(registry) : address(timelock);
            (, bool whole) = History.grants(nodeVm(), emitter, born);
            assertTrue(whole);
            (, whole) = History.grants(nodeVm(), emitter, born + 1);
            assertFalse(whole);
        }
    }

    /// @dev The library's function as a call, so that it can be expected to revert.
    function read(uint256 from) external {
        History.grants(nodeVm(), address(registry), from);
    }
}
