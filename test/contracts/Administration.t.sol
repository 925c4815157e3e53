// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {RegistryTest} from "./support/RegistryTest.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts-upgradeable/proxy/utils/UUPSUpgradeable.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {IERC1967} from "@openzeppelin/contracts/interfaces/IERC1967.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {Proof, Word} from "contracts/interfaces/IJobRegistry.sol";

contract AdministrationTest is RegistryTest {
    address private immutable NEW_ADMIN = makeAddr("new admin");

    function test_Pause_RevertWhen_CallerIsNotPauser() public {
        address[5] memory callers = [ADMIN, UPGRADER, REVOKER, CONFIRMER, ANYONE];
        for (uint256 i = 0; i < callers.length; ++i) {
            expectUnauthorized(callers[i], keccak256("PAUSER_ROLE"));
            registry.pause();
        }
    }

    function test_Pause_RevertWhen_Paused() public {
        pause();
        vm.prank(PAUSER);
        vm.expectRevert(Pausable.EnforcedPause.selector);
        registry.pause();
    }

    function test_Pause_EmitsPaused() public {
        vm.expectEmit(address(registry));
        emit Pausable.Paused(PAUSER);
        pause();
        assertTrue(registry.paused());
    }

    function test_Unpause_RevertWhen_CallerIsNotAdmin() public {
        pause();
        address[5] memory callers = [UPGRADER, REVOKER, PAUSER, CONFIRMER, ANYONE];
        for (uint256 i = 0; i < callers.length; ++i) {
            expectUnauthorized(callers[i], 0);
            registry.unpause();
        }
        assertTrue(registry.paused());
    }

    function test_Unpause_RevertWhen_NotPaused() public {
        vm.prank(ADMIN);
        vm.expectRevert(Pausable.ExpectedPause.selector);
        registry.unpause();
    }

    function test_Unpause_LetsConfirmingGoOn() public {
        pause();
        vm.expectEmit(address(registry));
        emit Pausable.Unpaused(ADMIN);
        vm.prank(ADMIN);
        registry.unpause();

        confirm(only(opaqueWord(1, 1)));
        assertTrue(registry.isConfirmed(ticketAt(1, 0)));
    }

    function test_Upgrade_RevertWhen_CallerIsNotUpgrader() public {
        address next = address(new JobRegistry());
        address[5] memory callers = [ADMIN, REVOKER, PAUSER, CONFIRMER, ANYONE];
        for (uint256 i = 0; i < callers.length; ++i) {
            expectUnauthorized(callers[i], keccak256("UPGRADER_ROLE"));
            registry.upgradeToAndCall(next, "");
        }
    }

    /// @dev Otherwise a timelock that holds the role would bind nobody.
    function test_Upgrade_RevertWhen_TheAdminTakesTheRole() public {
        bytes32 role = registry.UPGRADER_ROLE();
        expectUnauthorized(ADMIN, role);
        registry.grantRole(role, ADMIN);
        expectUnauthorized(ADMIN, role);
        registry.revokeRole(role, UPGRADER);
    }

    function test_Upgrade_RevertWhen_TheUpgraderGaveTheRoleAway() public {
        bytes32 role = registry.UPGRADER_ROLE();
        vm.startPrank(UPGRADER);
        registry.grantRole(role, ANYONE);
        registry.renounceRole(role, UPGRADER);
        vm.stopPrank();

        expectUnauthorized(UPGRADER, role);
        registry.upgradeToAndCall(address(implementation), "");
        vm.prank(ANYONE);
        registry.upgradeToAndCall(address(implementation), "");
    }

    function test_Upgrade_RevertWhen_CalledOnTheImplementation() public {
        vm.prank(UPGRADER);
        vm.expectRevert(UUPSUpgradeable.UUPSUnauthorizedCallContext.selector);
        implementation.upgradeToAndCall(address(implementation), "");
    }

    function test_Upgrade_RevertWhen_TheTargetIsNoImplementation() public {
        vm.prank(UPGRADER);
        vm.expectRevert(
            abi.encodeWithSelector(ERC1967Utils.ERC1967InvalidImplementation.selector, address(this))
        );
        registry.upgradeToAndCall(address(this), "");
    }

    function test_Upgrade_KeepsWhatIsConfirmed() public {
        Word[] memory words = pairOf(wordOf(3, 0xff), wordOf(4, 0xff));
        Proof memory proof = proofOf(words, 1, 2);
        confirm(words);
        address next = address(new JobRegistry());

        vm.expectEmit(address(registry));
        emit IERC1967.Upgraded(next);
        vm.prank(UPGRADER);
        registry.upgradeToAndCall(next, "");

        assertEq(
            address(uint160(uint256(vm.load(address(registry), ERC1967Utils.IMPLEMENTATION_SLOT)))), next
        );
        assertTrue(registry.verify(jobOf(ticketAt(4, 2)), proof));
        assertTrue(registry.hasRole(keccak256("CONFIRMER_ROLE"), CONFIRMER));
    }

    function test_Confirmers_AreAddedByTheAdminAlone() public {
        bytes32 role = registry.CONFIRMER_ROLE();
        expectUnauthorized(CONFIRMER, 0);
        registry.grantRole(role, ANYONE);

        vm.expectEmit(address(registry));
        emit IAccessControl.RoleGranted(role, ANYONE, ADMIN);
        vm.prank(ADMIN);
        registry.grantRole(role, ANYONE);

        vm.prank(ANYONE);
        registry.confirmBatch(only(opaqueWord(1, 1)));
    }

    function test_Confirmers_RemovedConfirmNothing() public {
        bytes32 role = registry.CONFIRMER_ROLE();
        confirm(only(opaqueWord(1, 1)));
        vm.prank(ADMIN);
        registry.revokeRole(role, CONFIRMER);

        expectUnauthorized(CONFIRMER, role);
        registry.confirmBatch(only(opaqueWord(1, 2)));
        assertTrue(registry.isConfirmed(ticketAt(1, 0)));
    }

    function test_DefaultAdmin_CannotBeGrantedOrRevokedDirectly() public {
        vm.startPrank(ADMIN);
        vm.expectRevert(IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminRules.selector);
        registry.grantRole(0, NEW_ADMIN);
        vm.expectRevert(IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminRules.selector);
        registry.revokeRole(0, ADMIN);
    }

    function test_DefaultAdmin_CannotBeRenouncedAtOnce() public {
        vm.prank(ADMIN);
        vm.expectRevert(
            abi.encodeWithSelector(
                IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminDelay.selector, 0
            )
        );
        registry.renounceRole(0, ADMIN);
        assertEq(registry.defaultAdmin(), ADMIN);
    }

    function test_DefaultAdmin_PassesOnInTwoStepsAfterTheDelay() public {
        vm.prank(ADMIN);
        registry.beginDefaultAdminTransfer(NEW_ADMIN);
        (, uint48 schedule) = registry.pendingDefaultAdmin();
        assertEq(schedule, block.timestamp + ADMIN_DELAY);

        vm.warp(schedule);
        vm.prank(NEW_ADMIN);
        vm.expectRevert(
            abi.encodeWithSelector(
                IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminDelay.selector, schedule
            )
        );
        registry.acceptDefaultAdminTransfer();

        vm.warp(schedule + 1);
        vm.prank(NEW_ADMIN);
        registry.acceptDefaultAdminTransfer();
        assertEq(registry.defaultAdmin(), NEW_ADMIN);
        assertFalse(registry.hasRole(0, ADMIN));
    }

    function pause() private {
        vm.prank(PAUSER);
        registry.pause();
    }

    function expectUnauthorized(address caller, bytes32 role) private {
        vm.prank(caller);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, role)
        );
    }
}
