// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {RegistryTest} from "./support/RegistryTest.sol";
import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {IJobRegistry} from "contracts/interfaces/IJobRegistry.sol";

contract InterfacesTest is RegistryTest {
    /// @dev Consumers ask for this id, so the interface it stands for is frozen.
    bytes4 private constant VERSION_1 = 0x7ee360cb;

    function test_TheInterfaceIsFrozen() public view {
        assertEq(type(IJobRegistry).interfaceId, VERSION_1);
        assertTrue(registry.supportsInterface(VERSION_1));
    }

    function test_SupportsWhatItInherits() public view {
        assertTrue(registry.supportsInterface(type(IERC165).interfaceId));
        assertTrue(registry.supportsInterface(type(IAccessControlDefaultAdminRules).interfaceId));
    }

    function testFuzz_SupportsNothingElse(bytes4 id) public view {
        vm.assume(id != VERSION_1 && id != type(IERC165).interfaceId && id != 0x7965db0b);
        vm.assume(id != type(IAccessControlDefaultAdminRules).interfaceId);
        assertFalse(registry.supportsInterface(id));
        assertFalse(registry.supportsInterface(0xffffffff));
    }

    function test_TellsItsVersion() public view {
        assertEq(registry.version(), "1.0.0");
    }
}
