// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {Safe} from "@safe-global/safe-contracts/Safe.sol";
import {Enum} from "@safe-global/safe-contracts/common/Enum.sol";
import {
    CompatibilityFallbackHandler
} from "@safe-global/safe-contracts/handler/CompatibilityFallbackHandler.sol";
import {SafeProxyFactory} from "@safe-global/safe-contracts/proxies/SafeProxyFactory.sol";
import {StdConstants} from "forge-std/StdConstants.sol";
import {Vm} from "forge-std/Vm.sol";
import {SafeTransaction} from "script/support/SafeBatch.sol";

/// @title A Safe of three owners, two of whom have to sign
contract SafeAccount {
    Vm private constant VM = StdConstants.VM;

    Safe public immutable SAFE;

    /// @dev In ascending order of their addresses, as the Safe wants their signatures.
    uint256[3] private _keys;

    constructor() {
        address[] memory owners = new address[](3);
        for (uint256 i = 0; i < owners.length; ++i) {
            _keys[i] = uint256(keccak256(abi.encode("owner", i)));
        }
        _sortKeys();
        for (uint256 i = 0; i < owners.length; ++i) {
            owners[i] = VM.addr(_keys[i]);
        }
        address handler = address(new CompatibilityFallbackHandler());
        bytes memory setup =
            abi.encodeCall(Safe.setup, (owners, 2, address(0), "", handler, address(0), 0, payable(0)));
        SAFE = Safe(
            payable(address(new SafeProxyFactory().createProxyWithNonce(address(new Safe()), setup, 0)))
        );
    }

    /// @notice Lets two owners sign and a stranger send.
    function send(SafeTransaction calldata transaction) external {
        bytes32 digest = SAFE.getTransactionHash(
            transaction.to,
            0,
            transaction.data,
            Enum.Operation.Call,
            0,
            0,
            0,
            address(0),
            address(0),
            SAFE.nonce()
        );
        SAFE.execTransaction(
            transaction.to,
            0,
            transaction.data,
            Enum.Operation.Call,
            0,
            0,
            0,
            address(0),
            payable(0),
            bytes.concat(_sign(_keys[0], digest), _sign(_keys[2], digest))
        );
    }

    function _sign(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _sortKeys() private {
        for (uint256 i = 0; i < 3; ++i) {
            for (uint256 j = 0; j < i; ++j) {
                if (VM.addr(_keys[i]) < VM.addr(_keys[j])) (_keys[i], _keys[j]) = (_keys[j], _keys[i]);
            }
        }
    }
}
