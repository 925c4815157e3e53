// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {RegistryTest} from "./support/RegistryTest.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {JobConfirmation} from "contracts/interfaces/IJobRegistry.sol";

contract LeafOfTest is RegistryTest {
    function testFuzz_IsTheTypedDataDigest(JobConfirmation calldata job) public view {
        assertEq(registry.leafOf(job), digest(job, block.chainid, address(registry)));
    }

    function test_DomainIsTold() public view {
        (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        ) = registry.eip712Domain();
        assertEq(fields, hex"0f");
        assertEq(name, "JobRegistry");
        assertEq(version, "1");
        assertEq(chainId, block.chainid);
        assertEq(verifyingContract, address(registry));
        assertEq(salt, 0);
        assertEq(extensions.length, 0);
    }

    function testFuzz_FollowsTheChainId(uint64 chainId) public {
        vm.assume(chainId != 0 && chainId != block.chainid);
        bytes32 before = registry.leafOf(jobOf(1));
        vm.chainId(chainId);
        assertNotEq(registry.leafOf(jobOf(1)), before);
        assertEq(registry.leafOf(jobOf(1)), digest(jobOf(1), chainId, address(registry)));
        (,,, uint256 told,,,) = registry.eip712Domain();
        assertEq(told, chainId);
    }

    function test_FollowsTheProxyAddress() public {
        JobRegistry other = JobRegistry(address(new ERC1967Proxy(address(implementation), initialization())));
        assertEq(other.leafOf(jobOf(1)), digest(jobOf(1), block.chainid, address(other)));
        assertNotEq(other.leafOf(jobOf(1)), registry.leafOf(jobOf(1)));
    }

    function test_StaysThroughAnUpgrade() public {
        bytes32 before = registry.leafOf(jobOf(1));
        address next = address(new JobRegistry());
        vm.prank(UPGRADER);
        registry.upgradeToAndCall(next, "");
        assertEq(registry.leafOf(jobOf(1)), before);
    }

    /// @dev The digest spelled out from EIP-712, sharing nothing with the contract.
    function digest(JobConfirmation memory job, uint256 chainId, address verifyingContract)
        private
        pure
        returns (bytes32)
    {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("JobRegistry"),
                keccak256("1"),
                chainId,
                verifyingContract
            )
        );
        bytes memory encoded = abi.encode(
            keccak256(
                "JobConfirmation(uint64 ticket,bytes16 jobId,bytes32 inputHash,bytes32 outputHash,uint64 completedAt,bytes32 salt)"
            ),
            job
        );
        return keccak256(bytes.concat(hex"1901", domain, keccak256(encoded)));
    }
}
