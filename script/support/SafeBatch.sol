// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {StdConstants} from "forge-std/StdConstants.sol";
import {Vm} from "forge-std/Vm.sol";

/// @notice A transaction for a Safe to send; its value is 0.
struct SafeTransaction {
    address to;
    bytes data;
}

/// @title A file that the Safe app's Transaction Builder imports
library SafeBatch {
    Vm private constant VM = StdConstants.VM;

    /// @notice Writes a batch of one transaction.
    /// @param safe Whose transaction it is.
    /// @param name What its signers read; without characters that JSON escapes.
    function write(string memory path, address safe, string memory name, SafeTransaction memory transaction)
        internal
    {
        VM.writeFile(path, json(safe, name, transaction));
    }

    function json(address safe, string memory name, SafeTransaction memory transaction)
        internal
        view
        returns (string memory)
    {
        return string.concat(
            '{"version":"1.0","chainId":',
            _chain(),
            ',"createdAt":',
            _time(),
            ',"meta":{"name":',
            _quoted(name),
            ',"createdFromSafeAddress":',
            _quoted(VM.toString(safe)),
            ',"checksum":',
            _quoted(VM.toString(_checksum(safe, transaction))),
            '},"transactions":[{"to":',
            _quoted(VM.toString(transaction.to)),
            ',"value":"0","data":',
            _quoted(VM.toString(transaction.data)),
            "}]}\n"
        );
    }

    /// @dev The builder warns of a file whose checksum does not fit. It hashes a canonical form of its own: an object is
    /// the list of its sorted keys, then their values, each with a comma behind it. The name counts as null.
    function _checksum(address safe, SafeTransaction memory transaction) private view returns (bytes32) {
        string memory meta =
            string.concat('{["createdFromSafeAddress","name"]', _quoted(VM.toString(safe)), ",null,}");
        string memory only = string.concat(
            '{["data","to","value"]',
            _quoted(VM.toString(transaction.data)),
            ",",
            _quoted(VM.toString(transaction.to)),
            ',"0",}'
        );
        return keccak256(
            bytes(
                string.concat(
                    '{["chainId","createdAt","meta","transactions","version"]',
                    _chain(),
                    ",",
                    _time(),
                    ",",
                    meta,
                    ",[",
                    only,
                    '],"1.0",}'
                )
            )
        );
    }

    function _chain() private view returns (string memory) {
        return _quoted(VM.toString(block.chainid));
    }

    /// @dev In milliseconds.
    function _time() private view returns (string memory) {
        return VM.toString(block.timestamp * 1000);
    }

    function _quoted(string memory text) private pure returns (string memory) {
        return string.concat('"', text, '"');
    }
}
