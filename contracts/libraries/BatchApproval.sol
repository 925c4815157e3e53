// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.24;

import {RegistryDomain} from "./RegistryDomain.sol";

/// @title What a confirmer signs to approve a batch
/// @notice It names the batch by its root, which binds every ticket and every job, and carries no counter: a batch
/// whose tickets are spent cannot come again, and batches are approved and sent in any order.
library BatchApproval {
    bytes32 private constant TYPEHASH = keccak256("ConfirmBatch(bytes32 root,uint256 deadline)");

    /// @notice The EIP-712 digest in the domain of the calling contract.
    /// @param deadline The last second, in Unix time, at which the batch may be confirmed.
    function digest(bytes32 root, uint256 deadline) internal view returns (bytes32) {
        return RegistryDomain.digest(keccak256(abi.encode(TYPEHASH, root, deadline)));
    }
}
