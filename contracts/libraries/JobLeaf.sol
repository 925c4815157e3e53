// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.24;

import {JobConfirmation} from "../interfaces/IJobRegistry.sol";
import {RegistryDomain} from "./RegistryDomain.sol";

/// @title Leaves of format 1
/// @notice A leaf is an EIP-712 digest, so any EIP-712 library recomputes it, and its preimage of 66 bytes can be
/// taken for no node (64 bytes) and for no word (96 bytes).
library JobLeaf {
    bytes32 private constant TYPEHASH = keccak256(
        "JobConfirmation(uint64 ticket,bytes16 jobId,bytes32 inputHash,bytes32 outputHash,uint64 completedAt,bytes32 salt)"
    );

    /// @notice The leaf of `job` in the domain of the calling contract.
    function hash(JobConfirmation calldata job) internal view returns (bytes32) {
        return RegistryDomain.digest(
            keccak256(
                abi.encode(
                    TYPEHASH, job.ticket, job.jobId, job.inputHash, job.outputHash, job.completedAt, job.salt
                )
            )
        );
    }
}
