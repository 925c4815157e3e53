// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {SignedRegistryTest} from "./support/SignedRegistryTest.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IJobRegistry} from "contracts/interfaces/IJobRegistry.sol";

contract SetQuorumTest is SignedRegistryTest {
    function test_RevertWhen_CallerIsNotAdmin() public {
        address[5] memory callers = [UPGRADER, REVOKER, PAUSER, CONFIRMER, ANYONE];
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.prank(callers[i]);
            vm.expectRevert(
                abi.encodeWithSelector(
                    IAccessControl.AccessControlUnauthorizedAccount.selector, callers[i], bytes32(0)
                )
            );
            registry.setQuorum(1, 1);
        }
    }

    function test_RevertWhen_LaneIsTheStandardOne() public {
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.LaneWithoutQuorum.selector, 0));
        setQuorum(0, 1);
        assertEq(registry.quorum(0), 1);
    }

    function testFuzz_RevertWhen_LaneIsBeyond31(uint8 lane) public {
        lane = uint8(bound(lane, 32, 255));
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.LaneWithoutQuorum.selector, lane));
        setQuorum(lane, 1);
        assertEq(registry.quorum(lane), 0);
    }

    /// @dev Whatever lies in the slot, one byte changes.
    function testFuzz_SetsTheLanesByteAlone(uint256 packed, uint8 lane, uint8 k) public {
        lane = uint8(bound(lane, 1, 31));
        bytes32 slot = bytes32(STORAGE_BASE + 3);
        vm.store(address(registry), slot, bytes32(packed));
        setQuorum(lane, k);

        uint256 shift = uint256(lane) * 8;
        uint256 expected = (packed & ~(uint256(0xff) << shift)) | (uint256(k) << shift);
        assertEq(uint256(vm.load(address(registry), slot)), expected);
        for (uint256 other = 1; other < 32; ++other) {
            // forge-lint: disable-next-line(unsafe-typecast)
            assertEq(registry.quorum(uint8(other)), uint8(expected >> (other * 8)));
        }
        assertEq(registry.quorum(0), 1);
    }

    function test_EmitsQuorumSet() public {
        vm.expectEmit(address(registry));
        emit IJobRegistry.QuorumSet(31, 0, 2);
        setQuorum(31, 2);
        vm.expectEmit(address(registry));
        emit IJobRegistry.QuorumSet(31, 2, 5);
        setQuorum(31, 5);
        vm.expectEmit(address(registry));
        emit IJobRegistry.QuorumSet(31, 5, 0);
        setQuorum(31, 0);
    }

    function test_HoldsForTheNextBatch() public {
        confirmSigned(only(opaqueWord(CRITICAL, 1)), 2);
        setQuorum(LANE, 3);
        address[] memory accounts = signers(2);
        bytes[] memory signed = signatures(only(opaqueWord(CRITICAL, 2)), accounts);
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.QuorumNotReached.selector, LANE, 2, 3));
        registry.confirmBatchWithSignatures(only(opaqueWord(CRITICAL, 2)), deadline, accounts, signed);
        confirmSigned(only(opaqueWord(CRITICAL, 2)), 3);
    }

    function test_LeavesWhatIsConfirmed() public {
        confirmSigned(only(opaqueWord(CRITICAL, 1)), 2);
        setQuorum(LANE, 0);
        assertTrue(registry.isConfirmed(ticketAt(CRITICAL, 0)));
    }

    function test_WorksWhilePaused() public {
        vm.prank(PAUSER);
        registry.pause();
        setQuorum(LANE, 0);
        assertEq(registry.quorum(LANE), 0);
    }
}
