// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {SymbolicRegistry} from "./SymbolicRegistry.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {Word} from "contracts/interfaces/IJobRegistry.sol";

/// @custom:halmos --array-lengths words={1,2},signers=1,signatures=1,setup.confirmers=1
contract SpentTicketsProof is SymbolicRegistry {
    /// @dev With any caller, any time, any function, any word and any root.
    function check_WhatIsSpentStaysSpent(address caller, uint64 time, uint64 index, bytes32 root) public {
        bytes memory data = anyCallButUpgrade();
        (uint256 spent, uint256 revoked) = registry.word(index);
        bytes32 record = recordOf(root);

        vm.warp(time);
        send(caller, data);

        (uint256 spentNow, uint256 revokedNow) = registry.word(index);
        assert(spent & ~spentNow == 0);
        assert(revoked & ~revokedNow == 0);
        assert(either(isConfirming(data), spentNow == spent));
        assert(either(isConfirming(data), recordOf(root) == record));
        assert(either(bytes4(data) == JobRegistry.revoke.selector, revokedNow == revoked));
    }

    /// @dev Without a call to the new code, which could do anything.
    function check_AnUpgradeTouchesNoTicket(address caller, address next, uint64 index, bytes32 root) public {
        (uint256 spent, uint256 revoked) = registry.word(index);
        bytes32 record = recordOf(root);

        vm.prank(caller);
        registry.upgradeToAndCall(next, "");

        (uint256 spentNow, uint256 revokedNow) = registry.word(index);
        assert(spentNow == spent);
        assert(revokedNow == revoked);
        assert(recordOf(root) == record);
        assert(registry.hasRole(registry.UPGRADER_ROLE(), caller));
    }

    /// @custom:halmos --array-lengths words={1,2,3}
    function check_ASpentTicketRefusesItsBatch(
        address caller,
        Word[] memory words,
        uint64 index,
        bytes32 root
    ) public {
        vm.assume(overlap(words) != 0);
        refuses(caller, abi.encodeCall(registry.confirmBatch, (words)), index, root);
    }

    function check_ASpentTicketRefusesItsSignedBatch(
        address caller,
        Word[] memory words,
        uint256 deadline,
        address[] memory signers,
        bytes[] memory signatures,
        uint64 index,
        bytes32 root
    ) public {
        vm.assume(overlap(words) != 0);
        bytes memory data =
            abi.encodeCall(registry.confirmBatchWithSignatures, (words, deadline, signers, signatures));
        refuses(caller, data, index, root);
    }

    function refuses(address caller, bytes memory data, uint64 index, bytes32 root) private {
        (uint256 spent,) = registry.word(index);
        bytes32 record = recordOf(root);
        assert(!send(caller, data));
        (uint256 spentNow,) = registry.word(index);
        assert(spentNow == spent);
        assert(recordOf(root) == record);
    }

    function overlap(Word[] memory words) private view returns (uint256 bits) {
        for (uint256 i = 0; i < words.length; ++i) {
            (uint256 spent,) = registry.word(words[i].index);
            bits |= spent & words[i].mask;
        }
    }
}
