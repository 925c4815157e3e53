// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {RegistryTest} from "./support/RegistryTest.sol";
import {Initializable} from "@openzeppelin/contracts-upgradeable/proxy/utils/Initializable.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";

contract InitializeTest is RegistryTest {
    function test_RevertWhen_CalledOnTheImplementation() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        implementation.initialize(setup());
    }

    function test_RevertWhen_CalledAgain() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        registry.initialize(setup());
    }

    function test_EmitsInitialized() public {
        JobRegistry other = JobRegistry(address(new ERC1967Proxy(address(implementation), "")));
        vm.expectEmit(address(other));
        emit Initializable.Initialized(1);
        other.initialize(setup());
    }

    function test_RevertWhen_AdminIsZero() public {
        JobRegistry.Setup memory missing = setup();
        missing.admin = address(0);
        expectRefused(
            missing,
            abi.encodeWithSelector(
                IAccessControlDefaultAdminRules.AccessControlInvalidDefaultAdmin.selector, address(0)
            )
        );
    }

    function test_RevertWhen_ThereAreNoConfirmers() public {
        JobRegistry.Setup memory missing = setup();
        missing.confirmers = new address[](0);
        expectRefused(missing, abi.encodeWithSelector(JobRegistry.NoConfirmers.selector));
    }

    function test_RevertWhen_AConfirmerIsZero() public {
        JobRegistry.Setup memory missing = setup();
        missing.confirmers[1] = address(0);
        expectRefused(missing, zeroAddress("CONFIRMER_ROLE"));
    }

    function test_RevertWhen_UpgraderIsZero() public {
        JobRegistry.Setup memory missing = setup();
        missing.upgrader = address(0);
        expectRefused(missing, zeroAddress("UPGRADER_ROLE"));
    }

    function test_RevertWhen_RevokerIsZero() public {
        JobRegistry.Setup memory missing = setup();
        missing.revoker = address(0);
        expectRefused(missing, zeroAddress("REVOKER_ROLE"));
    }

    function test_RevertWhen_PauserIsZero() public {
        JobRegistry.Setup memory missing = setup();
        missing.pauser = address(0);
        expectRefused(missing, zeroAddress("PAUSER_ROLE"));
    }

    function test_GivesEachAccountItsRoleAndNoOther() public view {
        bytes32[5] memory roles = [
            bytes32(0),
            keccak256("UPGRADER_ROLE"),
            keccak256("REVOKER_ROLE"),
            keccak256("PAUSER_ROLE"),
            keccak256("CONFIRMER_ROLE")
        ];
        address[5] memory holders = [ADMIN, UPGRADER, REVOKER, PAUSER, CONFIRMER];
        assertEq(registry.DEFAULT_ADMIN_ROLE(), roles[0]);
        assertEq(registry.UPGRADER_ROLE(), roles[1]);
        assertEq(registry.REVOKER_ROLE(), roles[2]);
        assertEq(registry.PAUSER_ROLE(), roles[3]);
        assertEq(registry.CONFIRMER_ROLE(), roles[4]);
        for (uint256 i = 0; i < roles.length; ++i) {
            for (uint256 j = 0; j < holders.length; ++j) {
                assertEq(registry.hasRole(roles[i], holders[j]), i == j);
            }
            assertEq(registry.hasRole(roles[i], OTHER_CONFIRMER), i == 4);
            assertFalse(registry.hasRole(roles[i], address(this)));
        }
    }

    function test_EmitsRoleGrantedForEachRole() public {
        JobRegistry other = JobRegistry(address(new ERC1967Proxy(address(implementation), "")));
        expectGranted(other, 0, ADMIN);
        vm.expectEmit(address(other));
        emit IAccessControl.RoleAdminChanged(keccak256("UPGRADER_ROLE"), 0, keccak256("UPGRADER_ROLE"));
        expectGranted(other, keccak256("UPGRADER_ROLE"), UPGRADER);
        expectGranted(other, keccak256("REVOKER_ROLE"), REVOKER);
        expectGranted(other, keccak256("PAUSER_ROLE"), PAUSER);
        expectGranted(other, keccak256("CONFIRMER_ROLE"), CONFIRMER);
        expectGranted(other, keccak256("CONFIRMER_ROLE"), OTHER_CONFIRMER);
        other.initialize(setup());
    }

    function test_OnlyUpgradersGiveTheUpgraderRole() public view {
        assertEq(registry.getRoleAdmin(keccak256("UPGRADER_ROLE")), keccak256("UPGRADER_ROLE"));
        assertEq(registry.getRoleAdmin(keccak256("CONFIRMER_ROLE")), 0);
        assertEq(registry.getRoleAdmin(keccak256("PAUSER_ROLE")), 0);
        assertEq(registry.getRoleAdmin(keccak256("REVOKER_ROLE")), 0);
    }

    function test_SetsAdminDelayAndDoesNotPause() public view {
        assertEq(registry.defaultAdmin(), ADMIN);
        assertEq(registry.owner(), ADMIN);
        assertEq(registry.defaultAdminDelay(), ADMIN_DELAY);
        assertFalse(registry.paused());
    }

    function test_ClosesEveryLaneButTheStandardOne() public view {
        assertEq(registry.quorum(0), 1);
        for (uint8 lane = 255; lane > 0; --lane) {
            assertEq(registry.quorum(lane), 0);
        }
    }

    function expectGranted(JobRegistry other, bytes32 role, address account) private {
        vm.expectEmit(address(other));
        emit IAccessControl.RoleGranted(role, account, address(this));
    }

    function expectRefused(JobRegistry.Setup memory refused, bytes memory refusal) private {
        bytes memory call = abi.encodeCall(JobRegistry.initialize, (refused));
        vm.expectRevert(refusal);
        new ERC1967Proxy(address(implementation), call);
    }

    function zeroAddress(string memory role) private pure returns (bytes memory) {
        return abi.encodeWithSelector(JobRegistry.ZeroAddress.selector, keccak256(bytes(role)));
    }
}
