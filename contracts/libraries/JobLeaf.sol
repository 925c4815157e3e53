// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.24;

import {JobConfirmation} from "../interfaces/IJobRegistry.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

/// @title Leaves of format 1
/// @notice A leaf is an EIP-712 digest, so any EIP-712 library recomputes it, and its preimage of 66 bytes can be
/// taken for no node (64 bytes) and for no word (96 bytes).
library JobLeaf {
    string internal constant DOMAIN_NAME = "JobRegistry";

    /// @dev Follows the leaf's format, not the implementation: an upgrade leaves it as it is.
    string internal constant DOMAIN_VERSION = "1";

    bytes32 internal constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    bytes32 internal constant JOB_TYPEHASH = keccak256(
        "JobConfirmation(uint64 ticket,bytes16 jobId,bytes32 inputHash,bytes32 outputHash,uint64 completedAt,bytes32 salt)"
    );

    /// @notice The domain separator of the calling contract on the present chain.
    /// @dev Called through a proxy this is the proxy's; made of constants it costs no storage read.
    function domainSeparator() internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                DOMAIN_TYPEHASH,
                keccak256(bytes(DOMAIN_NAME)),
                keccak256(bytes(DOMAIN_VERSION)),
                block.chainid,
                address(this)
            )
        );
    }

    /// @notice The leaf of `job` in the domain of the calling contract.
    function hash(JobConfirmation calldata job) internal view returns (bytes32) {
        bytes32 structHash = keccak256(
            abi.encode(
                JOB_TYPEHASH, job.ticket, job.jobId, job.inputHash, job.outputHash, job.completedAt, job.salt
            )
        );
        return MessageHashUtils.toTypedDataHash(domainSeparator(), structHash);
    }
}
