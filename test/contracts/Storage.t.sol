// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {RegistryTest} from "./support/RegistryTest.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {SlotDerivation} from "@openzeppelin/contracts/utils/SlotDerivation.sol";
import {Batch, Revocation} from "contracts/interfaces/IJobRegistry.sol";

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

    function testFuzz_RevokedIsField1(uint64 index, uint256 mask, uint256 revoked) public {
        index = uint64(bound(index, 0, LAST_INDEX));
        vm.assume(mask & revoked != 0);
        confirm(only(opaqueWord(index, mask)));
        revoke(index, mask & revoked);
        assertEq(field(bytes32(uint256(index)), 1), mask & revoked);
        assertEq(field(bytes32(uint256(index)), 0), mask);
    }

    function test_BatchesAreField2InOneSlotEach() public {
        bytes32 root = confirm(opaqueWords(0, 3, 0xf));
        uint256 packed = uint256(uint160(CONFIRMER)) | block.timestamp << 160 | uint256(12) << 208
            | uint256(1) << 240 | uint256(1) << 248;
        assertEq(field(root, 2), packed);
        assertEq(load(batchSlot(root) + 1), 0);
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

    function test_RevokingWritesNothingElse() public {
        confirm(opaqueWords(0, 2, 0xf));
        vm.record();
        revoke(1, 3);
        assertOnlyWrite(keccak256(abi.encode(1, uint256(BASE) + 1)));
    }

    /// @dev Lane 0 is the lowest byte, which stays zero.
    function test_QuorumsAreField3AByteALane() public {
        uint256 packed;
        for (uint8 lane = 1; lane < 32; ++lane) {
            setQuorum(lane, 100 + lane);
            packed |= uint256(100 + lane) << (8 * lane);
        }
        assertEq(load(uint256(BASE) + 3), packed);
    }

    function testFuzz_QuorumsAreReadFromTheirSlot(uint256 packed) public {
        vm.store(address(registry), bytes32(uint256(BASE) + 3), bytes32(packed));
        assertEq(registry.quorum(0), 1);
        for (uint8 lane = 1; lane < 32; ++lane) {
            assertEq(registry.quorum(lane), (packed >> (8 * lane)) & 0xff);
        }
    }

    function test_SettingAQuorumWritesNothingElse() public {
        vm.record();
        setQuorum(5, 2);
        assertOnlyWrite(bytes32(uint256(BASE) + 3));
    }

    function testFuzz_ABatchIsReadFromItsSlot(bytes32 root, Batch calldata batch) public {
        uint256 packed = uint256(uint160(batch.submitter)) | uint256(batch.confirmedAt) << 160
            | uint256(batch.jobs) << 208 | uint256(batch.approvals) << 240 | uint256(batch.format) << 248;
        vm.store(address(registry), bytes32(batchSlot(root)), bytes32(packed));
        assertEq(keccak256(abi.encode(registry.batch(root))), keccak256(abi.encode(batch)));
    }

    function test_TheImplementationIsInTheSlotOfErc1967() public view {
        bytes32 slot = bytes32(uint256(keccak256("eip1967.proxy.implementation")) - 1);
        assertEq(slot, ERC1967Utils.IMPLEMENTATION_SLOT);
        assertEq(load(uint256(slot)), uint160(address(implementation)));
    }

    function test_RolesAreInOpenZeppelinsNamespace() public view {
        bytes32 base = SlotDerivation.erc7201Slot("openzeppelin.storage.AccessControl");
        uint256 role = uint256(keccak256(abi.encode(registry.UPGRADER_ROLE(), base)));
        assertEq(load(uint256(keccak256(abi.encode(UPGRADER, role)))), 1);
        assertEq(load(uint256(keccak256(abi.encode(ADMIN, role)))), 0);
        assertEq(load(role + 1), uint256(registry.UPGRADER_ROLE()), "who administers the role");
    }

    function test_TheAdminIsInOpenZeppelinsNamespace() public {
        vm.startPrank(ADMIN);
        registry.beginDefaultAdminTransfer(ANYONE);
        registry.changeDefaultAdminDelay(2 days);
        vm.stopPrank();
        (, uint48 schedule) = registry.pendingDefaultAdmin();
        (, uint48 delaySchedule) = registry.pendingDefaultAdminDelay();

        uint256 base =
            uint256(SlotDerivation.erc7201Slot("openzeppelin.storage.AccessControlDefaultAdminRules"));
        assertEq(load(base), uint160(ANYONE) | uint256(schedule) << 160 | uint256(ADMIN_DELAY) << 208);
        assertEq(load(base + 1), uint160(ADMIN) | uint256(2 days) << 160 | uint256(delaySchedule) << 208);
    }

    function test_PausedIsInOpenZeppelinsNamespace() public {
        uint256 slot = uint256(SlotDerivation.erc7201Slot("openzeppelin.storage.Pausable"));
        assertEq(load(slot), 0);
        vm.prank(PAUSER);
        registry.pause();
        assertEq(load(slot), 1);
    }

    function test_TheInitializedVersionIsInOpenZeppelinsNamespace() public view {
        assertEq(load(uint256(SlotDerivation.erc7201Slot("openzeppelin.storage.Initializable"))), 1);
    }

    function revoke(uint64 index, uint256 mask) private {
        Revocation[] memory words = new Revocation[](1);
        words[0] = Revocation(index, mask);
        vm.prank(REVOKER);
        registry.revoke(words, "");
    }

    function assertOnlyWrite(bytes32 slot) private {
        (, bytes32[] memory writes) = vm.accesses(address(registry));
        assertEq(writes.length, 1);
        assertEq(writes[0], slot);
    }

    function load(uint256 slot) private view returns (uint256) {
        return uint256(vm.load(address(registry), bytes32(slot)));
    }

    function field(bytes32 key, uint256 at) private view returns (uint256) {
        return load(uint256(keccak256(abi.encode(key, uint256(BASE) + at))));
    }

    function batchSlot(bytes32 root) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(root, uint256(BASE) + 2)));
    }
}
