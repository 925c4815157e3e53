// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {SymbolicRegistry} from "./SymbolicRegistry.sol";
import {SlotDerivation} from "@openzeppelin/contracts/utils/SlotDerivation.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";

/// @custom:halmos --array-lengths words=1,signers=1,signatures=1,setup.confirmers=1
contract StrangersProof is SymbolicRegistry {
    /// @dev All of the registry's state but what is kept for its upgrades, of which {SpentTicketsProof} speaks.
    function check_AStrangerChangesNothing(
        address caller,
        uint64 time,
        uint64 index,
        bytes32 root,
        uint8 lane,
        bytes32 role,
        address account
    ) public {
        bytes memory data = anyCallButUpgrade();
        vm.assume(bytes4(data) != JobRegistry.confirmBatchWithSignatures.selector);
        vm.assume(isInitialized());
        assumeStranger(caller, data);
        bytes32 before = stateOf(index, root, lane, role, account);

        vm.warp(time);
        send(caller, data);

        assert(stateOf(index, root, lane, role, account) == before);
    }

    /// @dev Who holds no role that a function asks for, nor the one that the call names or what rules it, and is not the
    /// default admin, now or next.
    function assumeStranger(address caller, bytes memory data) private view {
        bytes32 named;
        assembly {
            named := mload(add(data, 0x24))
        }
        vm.assume(!registry.hasRole(0, caller));
        vm.assume(!registry.hasRole(keccak256("CONFIRMER_ROLE"), caller));
        vm.assume(!registry.hasRole(keccak256("REVOKER_ROLE"), caller));
        vm.assume(!registry.hasRole(keccak256("PAUSER_ROLE"), caller));
        vm.assume(!registry.hasRole(named, caller));
        vm.assume(!registry.hasRole(registry.getRoleAdmin(named), caller));
        (address next,) = registry.pendingDefaultAdmin();
        vm.assume(caller != next);
        vm.assume(caller != registry.defaultAdmin());
    }

    function isInitialized() private view returns (bool) {
        bytes32 slot = SlotDerivation.erc7201Slot("openzeppelin.storage.Initializable");
        return uint64(uint256(vm.load(address(registry), slot))) != 0;
    }

    function stateOf(uint64 index, bytes32 root, uint8 lane, bytes32 role, address account)
        private
        view
        returns (bytes32)
    {
        (uint256 spent, uint256 revoked) = registry.word(index);
        (address pending, uint48 schedule) = registry.pendingDefaultAdmin();
        return keccak256(
            abi.encode(
                spent,
                revoked,
                recordOf(root),
                registry.quorum(lane),
                registry.paused(),
                registry.hasRole(role, account),
                registry.getRoleAdmin(role),
                registry.defaultAdmin(),
                pending,
                schedule
            )
        );
    }
}
