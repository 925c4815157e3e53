// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {RegistryTest} from "./support/RegistryTest.sol";
import {SlotDerivation} from "@openzeppelin/contracts/utils/SlotDerivation.sol";
import {Batch} from "contracts/interfaces/IJobRegistry.sol";

/// @dev What is stored must stay where it is through every upgrade, so each place is written out here.
contract StorageTest is RegistryTest {
    bytes32 private constant BASE = 0x49c8d1d90ad89b0d725bb2cddaa532dd3209227f3ade3736d86fac2de98ab200;

    function test_BaseIsTheNamespacesSlot() public view {
        assertEq(BASE, SlotDerivation.erc7201Slot("jobseal.storage.JobRegistry"));
        assertEq(uint256(BASE), STORAGE_BASE);
    }

    function testFuzz_ConfirmedIsField0(uint64 index, uint256 mask) public {
        index = uint64(bound(index, 0, LAST_INDEX));
        vm.assume(mask != 0);
        confirm(only(opaqueWord(index, mask)));
        assertEq(field(bytes32(uint256(index)), 0), mask);
    }

    function testFuzz_RevokedIsField1(uint64 index, uint256 mask) public {
        vm.store(address(registry), keccak256(abi.encode(index, uint256(BASE) + 1)), bytes32(mask));
        (, uint256 revoked) = registry.word(index);
        assertEq(revoked, mask);
    }

    function test_BatchesAreField2InOneSlotEach() public {
        bytes32 root = confirm(opaqueWords(0, 3, 0xf));
        uint256 packed = uint256(uint160(CONFIRMER)) | block.timestamp << 160 | uint256(12) << 208
            | uint256(1) << 240 | uint256(1) << 248;
        assertEq(field(root, 2), packed);
        assertEq(uint256(vm.load(address(registry), bytes32(batchSlot(root) + 1))), 0);
    }

    /// @dev Confirming writes one slot a word and one for the batch, and nothing else.
    function test_ConfirmingWritesNothingElse() public {
        vm.record();
        bytes32 root = confirm(opaqueWords(0, 2, 0xf));
        (, bytes32[] memory writes) = vm.accesses(address(registry));
        assertEq(writes.length, 3);
        assertEq(writes[0], keccak256(abi.encode(0, uint256(BASE))));
        assertEq(writes[1], keccak256(abi.encode(1, uint256(BASE))));
        assertEq(uint256(writes[2]), batchSlot(root));
    }

    function testFuzz_ABatchIsReadFromItsSlot(bytes32 root, Batch calldata batch) public {
        uint256 packed = uint256(uint160(batch.submitter)) | uint256(batch.confirmedAt) << 160
            | uint256(batch.jobs) << 208 | uint256(batch.approvals) << 240 | uint256(batch.format) << 248;
        vm.store(address(registry), bytes32(batchSlot(root)), bytes32(packed));
        assertEq(keccak256(abi.encode(registry.batch(root))), keccak256(abi.encode(batch)));
    }

    function field(bytes32 key, uint256 at) private view returns (uint256) {
        return uint256(vm.load(address(registry), keccak256(abi.encode(key, uint256(BASE) + at))));
    }

    function batchSlot(bytes32 root) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(root, uint256(BASE) + 2)));
    }
}
