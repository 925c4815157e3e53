// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.24;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

/// @title The EIP-712 domain of a registry
/// @notice Made of constants, the chain and the calling contract: it costs no storage read, is the proxy's when called
/// through a proxy, and is another one after a fork of the chain.
library RegistryDomain {
    string internal constant NAME = "JobRegistry";

    /// @dev Follows the format of leaf and trees, not the implementation: an upgrade leaves it as it is.
    string internal constant VERSION = "1";

    bytes32 private constant TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME_HASH = keccak256(bytes(NAME));
    bytes32 private constant VERSION_HASH = keccak256(bytes(VERSION));

    /// @notice The domain separator of the calling contract on the present chain.
    function separator() internal view returns (bytes32) {
        return keccak256(abi.encode(TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, address(this)));
    }

    /// @notice What is signed, or made a leaf, of a struct with this EIP-712 hash.
    function digest(bytes32 structHash) internal view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(separator(), structHash);
    }
}
