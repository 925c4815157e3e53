// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {RegistryTest} from "./support/RegistryTest.sol";
import {Initializable} from "@openzeppelin/contracts-upgradeable/proxy/utils/Initializable.sol";
import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {IJobRegistry} from "contracts/interfaces/IJobRegistry.sol";

contract InitializeTest is RegistryTest {
    function test_RevertWhen_CalledOnTheImplementation() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        implementation.initialize(ADMIN, ADMIN_DELAY, confirmers(), PAUSER);
    }

    function test_RevertWhen_CalledAgain() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        registry.initialize(ANYONE, ADMIN_DELAY, confirmers(), ANYONE);
    }

    function test_RevertWhen_AdminIsZero() public {
        expectRefused(
            address(0),
            confirmers(),
            PAUSER,
            abi.encodeWithSelector(
                IAccessControlDefaultAdminRules.AccessControlInvalidDefaultAdmin.selector, address(0)
            )
        );
    }

    function test_RevertWhen_ThereAreNoConfirmers() public {
        bytes memory refusal = abi.encodeWithSelector(IJobRegistry.NoConfirmers.selector);
        expectRefused(ADMIN, new address[](0), PAUSER, refusal);
    }

    function test_RevertWhen_AConfirmerIsZero() public {
        address[] memory accounts = confirmers();
        accounts[1] = address(0);
        bytes memory refusal =
            abi.encodeWithSelector(IJobRegistry.ZeroAddress.selector, keccak256("CONFIRMER_ROLE"));
        expectRefused(ADMIN, accounts, PAUSER, refusal);
    }

    function test_RevertWhen_PauserIsZero() public {
        bytes memory refusal =
            abi.encodeWithSelector(IJobRegistry.ZeroAddress.selector, keccak256("PAUSER_ROLE"));
        expectRefused(ADMIN, confirmers(), address(0), refusal);
    }

    function test_GivesEachAccountItsRolesAndNoOther() public view {
        bytes32[5] memory roles = [
            bytes32(0),
            keccak256("REVOKER_ROLE"),
            keccak256("UPGRADER_ROLE"),
            keccak256("CONFIRMER_ROLE"),
            keccak256("PAUSER_ROLE")
        ];
        assertEq(registry.DEFAULT_ADMIN_ROLE(), roles[0]);
        assertEq(registry.REVOKER_ROLE(), roles[1]);
        assertEq(registry.UPGRADER_ROLE(), roles[2]);
        assertEq(registry.CONFIRMER_ROLE(), roles[3]);
        assertEq(registry.PAUSER_ROLE(), roles[4]);
        for (uint256 i = 0; i < roles.length; ++i) {
            assertEq(registry.hasRole(roles[i], ADMIN), i < 3);
            assertEq(registry.hasRole(roles[i], CONFIRMER), i == 3);
            assertEq(registry.hasRole(roles[i], OTHER_CONFIRMER), i == 3);
            assertEq(registry.hasRole(roles[i], PAUSER), i == 4);
            assertFalse(registry.hasRole(roles[i], address(this)));
        }
    }

    function test_SetsAdminDelayAndDoesNotPause() public view {
        assertEq(registry.defaultAdmin(), ADMIN);
        assertEq(registry.owner(), ADMIN);
        assertEq(registry.defaultAdminDelay(), ADMIN_DELAY);
        assertFalse(registry.paused());
    }

    function expectRefused(address admin, address[] memory accounts, address pauser, bytes memory refusal)
        private
    {
        bytes memory call = abi.encodeCall(JobRegistry.initialize, (admin, ADMIN_DELAY, accounts, pauser));
        vm.expectRevert(refusal);
        new ERC1967Proxy(address(implementation), call);
    }
}
