// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {Vm} from "forge-std/Vm.sol";

/// @title Signatures as the registry takes them
library Signing {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @dev The signatures of `keys` over `digest`, in ascending order of their signers. Sorts `keys`.
    function sign(bytes32 digest, uint256[] memory keys)
        internal
        pure
        returns (address[] memory signers, bytes[] memory signatures)
    {
        sortByAddress(keys);
        signers = new address[](keys.length);
        signatures = new bytes[](keys.length);
        for (uint256 i = 0; i < keys.length; ++i) {
            (uint8 v, bytes32 r, bytes32 s) = VM.sign(keys[i], digest);
            signers[i] = VM.addr(keys[i]);
            signatures[i] = abi.encodePacked(r, s, v);
        }
    }

    function sortByAddress(uint256[] memory keys) private pure {
        for (uint256 i = 1; i < keys.length; ++i) {
            for (uint256 at = i; at > 0 && VM.addr(keys[at]) < VM.addr(keys[at - 1]); --at) {
                (keys[at - 1], keys[at]) = (keys[at], keys[at - 1]);
            }
        }
    }
}
