// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {JobTrees} from "./JobTrees.sol";
import {RegistryHandler} from "./RegistryHandler.sol";
import {RegistryModel} from "./RegistryModel.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {Batch} from "contracts/interfaces/IJobRegistry.sol";
import {Test} from "forge-std/Test.sol";

/// @title A registry, its model, and that they agree
/// @notice The handler holds every call to the model's answer; here the state is held to the model's.
abstract contract RegistryAgreement is Test {
    RegistryHandler internal handler;
    JobRegistry internal registry;

    function begin() internal {
        handler = new RegistryHandler();
        registry = handler.registry();
    }

    function assertAgreement() internal view {
        ticketsAreTheModels();
        aTicketVerifiesForOneJobAtMost();
        batchesAreTheModels();
        rolesAreTheModels();
        quorumsAreTheModels();
        theImplementationIsTheModels();
    }

    function actions() internal pure returns (bytes4[] memory selectors) {
        bytes4[16] memory all = [
            RegistryHandler.confirm.selector,
            RegistryHandler.confirmFlawed.selector,
            RegistryHandler.confirmSigned.selector,
            RegistryHandler.confirmSignedFlawed.selector,
            RegistryHandler.revoke.selector,
            RegistryHandler.revokeFlawed.selector,
            RegistryHandler.setQuorum.selector,
            RegistryHandler.switchPause.selector,
            RegistryHandler.grantRole.selector,
            RegistryHandler.revokeRole.selector,
            RegistryHandler.renounceRole.selector,
            RegistryHandler.beginAdminTransfer.selector,
            RegistryHandler.cancelAdminTransfer.selector,
            RegistryHandler.acceptAdminTransfer.selector,
            RegistryHandler.upgrade.selector,
            RegistryHandler.passTime.selector
        ];
        selectors = new bytes4[](all.length);
        for (uint256 i = 0; i < all.length; ++i) {
            selectors[i] = all[i];
        }
    }

    function ticketsAreTheModels() private view {
        uint64[9] memory indices = handler.wordIndices();
        for (uint256 i = 0; i < indices.length; ++i) {
            (uint256 spent, uint256 revoked) = registry.word(indices[i]);
            assertEq(spent, handler.spentMask(indices[i]), "spent");
            assertEq(revoked, handler.revokedMask(indices[i]), "revoked");
            assertEq(revoked & ~spent, 0, "revoked without being spent");
        }
    }

    function aTicketVerifiesForOneJobAtMost() private view {
        JobTrees.Claim[] memory claims = handler.claims();
        for (uint256 i = 0; i < claims.length; ++i) {
            uint64 ticket = claims[i].ticket;
            bool isBinding = handler.bindingClaim(ticket) == i + 1;
            (bool success, bytes memory verified) = address(registry).staticcall(claims[i].call);
            assertTrue(success, "verify reverts");
            assertEq(abi.decode(verified, (bool)), isBinding && !handler.isRevoked(ticket), "verify");
            bool isConfirmed = handler.isSpent(ticket) && !handler.isRevoked(ticket);
            assertEq(registry.isConfirmed(ticket), isConfirmed, "isConfirmed");
        }
    }

    function batchesAreTheModels() private view {
        RegistryModel.KnownBatch[] memory known = handler.batches();
        uint256 jobs;
        for (uint256 i = 0; i < known.length; ++i) {
            Batch memory batch = registry.batch(known[i].root);
            assertNotEq(known[i].root, 0);
            assertEq(batch.submitter, known[i].submitter, "submitter");
            assertEq(batch.confirmedAt, known[i].confirmedAt, "confirmedAt");
            assertEq(batch.jobs, known[i].jobs, "jobs");
            assertEq(batch.approvals, known[i].approvals, "approvals");
            assertGe(batch.approvals, known[i].quorum, "quorum");
            assertEq(batch.format, 1, "format");
            jobs += batch.jobs;
        }
        assertEq(jobs, spentTickets(), "jobs of all batches");
        assertEq(registry.batch(0).format, 0, "the zero root");
    }

    function rolesAreTheModels() private view {
        bytes32[5] memory roles = handler.roles();
        for (uint256 i = 0; i < handler.ACTORS(); ++i) {
            address actor = handler.actors(i);
            for (uint256 at = 0; at < roles.length; ++at) {
                assertEq(registry.hasRole(roles[at], actor), handler.holds(roles[at], actor), "role");
            }
        }
        (address next, uint48 schedule) = registry.pendingDefaultAdmin();
        assertEq(registry.defaultAdmin(), handler.admin(), "admin");
        assertEq(next, handler.nextAdmin(), "next admin");
        assertEq(schedule, handler.adminSchedule(), "schedule");
        assertEq(registry.paused(), handler.isPaused(), "paused");
    }

    function quorumsAreTheModels() private view {
        for (uint8 lane = 0; lane < 40; ++lane) {
            assertEq(registry.quorum(lane), handler.quorumOf(lane), "quorum");
        }
    }

    function theImplementationIsTheModels() private view {
        bytes32 slot = vm.load(address(registry), ERC1967Utils.IMPLEMENTATION_SLOT);
        assertEq(address(uint160(uint256(slot))), handler.implementation(), "implementation");
    }

    function spentTickets() private view returns (uint256 count) {
        uint64[9] memory indices = handler.wordIndices();
        for (uint256 i = 0; i < indices.length; ++i) {
            (uint256 spent,) = registry.word(indices[i]);
            for (; spent != 0; spent &= spent - 1) {
                ++count;
            }
        }
    }
}
