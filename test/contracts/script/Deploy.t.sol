// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ScriptTest} from "./support/ScriptTest.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {IERC1967} from "@openzeppelin/contracts/interfaces/IERC1967.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {Vm, VmSafe} from "forge-std/Vm.sol";
import {History} from "script/support/History.sol";
import {Plan, Plans} from "script/support/Plan.sol";
import {Grant, Roles} from "script/support/Roles.sol";

contract DeployTest is ScriptTest {
    using Roles for Grant[];

    function test_GivesThePlansRolesAndNoOther() public {
        JobRegistry registry = deploy(plan());
        Grant[] memory expected = administered(ADMIN);
        assertSame(grantsOf(address(registry)), expected.with(UPGRADER_ROLE, ADMIN));
        assertEq(registry.defaultAdmin(), ADMIN);
        assertEq(registry.defaultAdminDelay(), ADMIN_DELAY);
    }

    function test_WithATimelock_ItAloneUpgrades() public {
        (JobRegistry registry, TimelockController timelock) = deployWithTimelock();
        Grant[] memory expected = administered(ADMIN);
        assertSame(grantsOf(address(registry)), expected.with(UPGRADER_ROLE, address(timelock)));
    }

    function test_WithATimelock_TheAdminOperatesItAndItAdministersItself() public {
        (, TimelockController timelock) = deployWithTimelock();
        assertEq(timelock.getMinDelay(), TIMELOCK_DELAY);
        Grant[] memory expected;
        expected = expected.with(0, address(timelock));
        expected = expected.with(keccak256("PROPOSER_ROLE"), ADMIN);
        expected = expected.with(keccak256("CANCELLER_ROLE"), ADMIN);
        assertSame(grantsOf(address(timelock)), expected.with(keccak256("EXECUTOR_ROLE"), ADMIN));
    }

    function test_WithATimelock_TheAdminCannotGoAroundIt() public {
        (JobRegistry registry, TimelockController timelock) = deployWithTimelock();
        address next = address(new JobRegistry());
        bytes memory upgrade = abi.encodeCall(registry.upgradeToAndCall, (next, ""));

        vm.startPrank(ADMIN);
        expectUnauthorized(ADMIN, UPGRADER_ROLE);
        registry.upgradeToAndCall(next, "");
        expectUnauthorized(ADMIN, UPGRADER_ROLE);
        registry.grantRole(UPGRADER_ROLE, ADMIN);
        expectUnauthorized(ADMIN, UPGRADER_ROLE);
        registry.revokeRole(UPGRADER_ROLE, address(timelock));

        vm.expectRevert(
            abi.encodeWithSelector(
                TimelockController.TimelockInsufficientDelay.selector, TIMELOCK_DELAY - 1, TIMELOCK_DELAY
            )
        );
        timelock.schedule(address(registry), 0, upgrade, 0, 0, TIMELOCK_DELAY - 1);
        vm.expectRevert(abi.encodeWithSelector(TimelockController.TimelockUnauthorizedCaller.selector, ADMIN));
        timelock.updateDelay(0);
        expectUnauthorized(ADMIN, 0);
        timelock.grantRole(keccak256("PROPOSER_ROLE"), ANYONE);
    }

    function test_WithATimelock_UpgradesAfterTheDelayAndNotBefore() public {
        (JobRegistry registry, TimelockController timelock) = deployWithTimelock();
        address next = address(new JobRegistry());
        bytes memory upgrade = abi.encodeCall(registry.upgradeToAndCall, (next, ""));
        bytes32 id = timelock.hashOperation(address(registry), 0, upgrade, 0, 0);

        vm.startPrank(ADMIN);
        expectNotReady(id);
        timelock.execute(address(registry), 0, upgrade, 0, 0);
        timelock.schedule(address(registry), 0, upgrade, 0, 0, TIMELOCK_DELAY);
        skip(TIMELOCK_DELAY - 1);
        expectNotReady(id);
        timelock.execute(address(registry), 0, upgrade, 0, 0);

        skip(1);
        vm.expectEmit(address(registry));
        emit IERC1967.Upgraded(next);
        timelock.execute(address(registry), 0, upgrade, 0, 0);
    }

    function test_Again_ChangesNothing() public {
        (address registry, address implementation, address upgrader) = deployment.deploy(timelockPlan());
        vm.recordLogs();
        vm.startStateDiffRecording();
        (address registry2, address implementation2, address upgrader2) = deployment.deploy(timelockPlan());
        Vm.AccountAccess[] memory accesses = vm.stopAndReturnStateDiff();

        assertEq(vm.getRecordedLogs().length, 0);
        for (uint256 i = 0; i < accesses.length; ++i) {
            assertTrue(accesses[i].kind != VmSafe.AccountAccessKind.Create);
        }
        assertEq(registry2, registry);
        assertEq(implementation2, implementation);
        assertEq(upgrader2, upgrader);
    }

    function test_FinishesWhatSomebodyElseBegan() public {
        vm.startBroadcast();
        address implementation = address(new JobRegistry{salt: keccak256("jobseal.JobRegistry")}());
        vm.stopBroadcast();
        (address registry, address found,) = deployment.deploy(plan());
        assertEq(found, implementation);
        assertEq(JobRegistry(registry).defaultAdmin(), ADMIN);
    }

    function test_OtherPlansShareImplementationAndTimelock() public {
        (address registry, address implementation, address upgrader) = deployment.deploy(timelockPlan());
        Plan memory other = timelockPlan();
        other.pauser = ANYONE;
        (address registry2, address implementation2, address upgrader2) = deployment.deploy(other);
        assertNotEq(registry2, registry);
        assertEq(implementation2, implementation);
        assertEq(upgrader2, upgrader);
    }

    function test_TheSamePlanHasTheSameAddressesOnEveryChain() public {
        uint256 nowhere = vm.snapshotState();
        vm.chainId(1);
        (address registry, address implementation, address upgrader) = deployment.deploy(timelockPlan());
        vm.revertToState(nowhere);
        vm.chainId(8453);
        (address registry2, address implementation2, address upgrader2) = deployment.deploy(timelockPlan());
        assertEq(registry2, registry);
        assertEq(implementation2, implementation);
        assertEq(upgrader2, upgrader);
    }

    function test_TheOrderOfConfirmersMeansNothing() public {
        address registry = address(deploy(plan()));
        Plan memory turned = plan();
        (turned.confirmers[0], turned.confirmers[1]) = (OTHER_CONFIRMER, CONFIRMER);
        assertEq(address(deploy(turned)), registry);
    }

    /// @dev Whatever is another in the plan makes another registry.
    function test_AnotherPlanHasAnotherAddress() public {
        Plan[7] memory plans;
        for (uint256 i = 0; i < plans.length; ++i) {
            plans[i] = plan();
        }
        plans[1].admin = ANYONE;
        plans[2].adminDelay += 1;
        plans[3].pauser = ANYONE;
        plans[4].revoker = ANYONE;
        plans[5].confirmers[1] = ANYONE;
        plans[6].timelockDelay = 1;
        for (uint256 i = 0; i < plans.length; ++i) {
            for (uint256 j = 0; j < i; ++j) {
                assertNotEq(address(deploy(plans[i])), address(deploy(plans[j])));
            }
        }
    }

    function test_RevertWhen_TheChainHasNoDeterministicDeployer() public {
        vm.etch(CREATE2_FACTORY, "");
        vm.expectRevert(
            "this chain has no deterministic deployer at 0x4e59b44847b379578588920cA78FbF26c0B4956C"
        );
        deployment.deploy(plan());
    }

    function test_RevertWhen_TheAdminHasNoCode() public {
        vm.expectRevert(
            "ADMIN has no code on this chain, so it is no Safe; where a key is meant, set ADMIN_IS_KEY=1"
        );
        deployment.checkAdmin(plan(), false);
        deployment.checkAdmin(plan(), true);
        vm.etch(ADMIN, hex"00");
        deployment.checkAdmin(plan(), false);
    }

    function test_RevertWhen_AnAccountIsZero() public {
        Plan memory wrong = plan();
        wrong.admin = address(0);
        expectRefused(wrong, "ADMIN is the zero address");
        wrong = plan();
        wrong.pauser = address(0);
        expectRefused(wrong, "PAUSER is the zero address");
        wrong = plan();
        wrong.revoker = address(0);
        expectRefused(wrong, "REVOKER is the zero address");
        wrong = plan();
        wrong.confirmers[1] = address(0);
        expectRefused(wrong, "CONFIRMERS holds the zero address");
    }

    function test_RevertWhen_ThereAreNoConfirmers() public {
        Plan memory wrong = plan();
        wrong.confirmers = new address[](0);
        expectRefused(wrong, "CONFIRMERS is empty");
    }

    function test_RevertWhen_AConfirmerIsNamedTwice() public {
        Plan memory wrong = plan();
        wrong.confirmers[1] = CONFIRMER;
        expectRefused(wrong, string.concat("CONFIRMERS holds ", vm.toString(CONFIRMER), " twice"));
    }

    function test_RevertWhen_ADelayIsLongerThanAYear() public {
        Plan memory wrong = plan();
        wrong.adminDelay = 365 days;
        wrong.timelockDelay = 365 days;
        this.check(wrong);

        wrong.adminDelay = 365 days + 1;
        expectRefused(wrong, "ADMIN_DELAY is longer than a year; it is in seconds");
        wrong.adminDelay = 0;
        wrong.timelockDelay = type(uint256).max;
        expectRefused(wrong, "TIMELOCK_DELAY is longer than a year; it is in seconds");
    }

    /// @dev The library's check as a call, so that it can be expected to revert.
    function check(Plan calldata wrong) external pure {
        Plans.check(wrong);
    }

    function expectRefused(Plan memory wrong, string memory reason) private {
        vm.expectRevert(bytes(reason));
        this.check(wrong);
    }

    function expectUnauthorized(address caller, bytes32 role) private {
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, role)
        );
    }

    function expectNotReady(bytes32 id) private {
        vm.expectRevert(
            abi.encodeWithSelector(
                TimelockController.TimelockUnexpectedOperationState.selector, id, bytes32(uint256(1 << 2))
            )
        );
    }

    /// @dev All roles of the plan but the upgrader's.
    function administered(address admin) private view returns (Grant[] memory expected) {
        expected = expected.with(0, admin);
        expected = expected.with(REVOKER_ROLE, REVOKER);
        expected = expected.with(PAUSER_ROLE, PAUSER);
        expected = expected.with(CONFIRMER_ROLE, CONFIRMER);
        expected = expected.with(CONFIRMER_ROLE, OTHER_CONFIRMER);
    }

    /// @dev Every role that `emitter` has given, all of which still hold.
    function grantsOf(address emitter) private returns (Grant[] memory grants) {
        (grants,) = History.grants(nodeVm(), emitter, BIRTH);
        assertEq(Roles.held(IAccessControl(emitter), grants).length, grants.length);
    }

    function assertSame(Grant[] memory actual, Grant[] memory expected) private pure {
        assertEq(actual.length, expected.length);
        for (uint256 i = 0; i < expected.length; ++i) {
            assertTrue(actual.contain(expected[i].role, expected[i].account));
        }
    }
}
