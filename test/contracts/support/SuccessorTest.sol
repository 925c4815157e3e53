// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {JobConfirmationV2, JobRegistryV2} from "./JobRegistryV2.sol";
import {RegistryHistory} from "./RegistryHistory.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {JobConfirmation, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @title A registry and its successor
abstract contract SuccessorTest is RegistryHistory {
    uint16 internal constant MAX_WORDS = 16;

    JobRegistryV2 internal next;

    /// @dev The registry, once it is upgraded.
    JobRegistryV2 internal successor;

    function setUp() public virtual override {
        super.setUp();
        next = new JobRegistryV2();
        successor = JobRegistryV2(address(registry));
    }

    function upgrade() internal {
        upgradeTo(address(next), migration(MAX_WORDS));
    }

    function upgradeWithoutMigration() internal {
        upgradeTo(address(next), "");
    }

    function downgrade() internal {
        upgradeTo(address(implementation), "");
    }

    function upgradeTo(address target, bytes memory call) internal {
        vm.prank(UPGRADER);
        registry.upgradeToAndCall(target, call);
    }

    function migration(uint16 maxWords) internal pure returns (bytes memory) {
        return abi.encodeCall(JobRegistryV2.migrate, (maxWords));
    }

    function implementationOf(address proxy) internal view returns (address) {
        return address(uint160(uint256(vm.load(proxy, ERC1967Utils.IMPLEMENTATION_SLOT))));
    }

    function confirmV2(Word[] memory words) internal returns (bytes32 root) {
        vm.prank(CONFIRMER);
        return successor.confirmBatchV2(words);
    }

    /// @dev `jobOf` the ticket, with the field that format 2 adds.
    function jobV2Of(uint64 ticket) internal pure returns (JobConfirmationV2 memory) {
        JobConfirmation memory job = jobOf(ticket);
        return JobConfirmationV2({
            ticket: ticket,
            jobId: job.jobId,
            inputHash: job.inputHash,
            outputHash: job.outputHash,
            handlerHash: keccak256("handler"),
            completedAt: job.completedAt,
            salt: job.salt
        });
    }
}
