// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {SuccessorTest} from "./support/SuccessorTest.sol";
import {Initializable} from "@openzeppelin/contracts-upgradeable/proxy/utils/Initializable.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {SlotDerivation} from "@openzeppelin/contracts/utils/SlotDerivation.sol";

contract MigrationTest is SuccessorTest {
    function test_HappensWithTheUpgrade() public {
        vm.expectEmit(address(registry));
        emit Initializable.Initialized(2);
        upgrade();
        assertEq(successor.maxWords(), MAX_WORDS);
    }

    /// @dev Nobody comes first where the upgrade was sent without it.
    function test_RevertWhen_CallerIsNotUpgrader() public {
        upgradeWithoutMigration();
        address[5] memory callers = [ADMIN, REVOKER, PAUSER, CONFIRMER, ANYONE];
        for (uint256 i = 0; i < callers.length; ++i) {
            expectUnauthorized(callers[i]);
            successor.migrate(1);
        }
        vm.prank(UPGRADER);
        successor.migrate(MAX_WORDS);
        assertEq(successor.maxWords(), MAX_WORDS);
    }

    function test_RevertWhen_CalledAgain() public {
        upgrade();
        vm.startPrank(UPGRADER);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        successor.migrate(1);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        successor.upgradeToAndCall(address(next), migration(1));
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        successor.initialize(setup());
        assertEq(successor.maxWords(), MAX_WORDS);
    }

    function test_RevertWhen_CalledAgainAfterADowngrade() public {
        upgrade();
        downgrade();
        vm.startPrank(UPGRADER);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        registry.upgradeToAndCall(address(next), migration(1));
        registry.upgradeToAndCall(address(next), "");
        assertEq(successor.maxWords(), MAX_WORDS);
    }

    function test_RevertWhen_CalledOnTheImplementation() public {
        expectUnauthorized(UPGRADER);
        next.migrate(MAX_WORDS);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        next.initialize(setup());
        bytes32 initialized = SlotDerivation.erc7201Slot("openzeppelin.storage.Initializable");
        assertEq(uint256(vm.load(address(next), initialized)), type(uint64).max);
    }

    function expectUnauthorized(address caller) private {
        vm.prank(caller);
        vm.expectRevert(
            abi.encodeWithSelector(
                IAccessControl.AccessControlUnauthorizedAccount.selector, caller, keccak256("UPGRADER_ROLE")
            )
        );
    }
}
