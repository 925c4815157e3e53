// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {Grant, Roles} from "./Roles.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {IERC1967} from "@openzeppelin/contracts/interfaces/IERC1967.sol";
import {Bytes} from "@openzeppelin/contracts/utils/Bytes.sol";
import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {StdConstants} from "forge-std/StdConstants.sol";
import {Vm} from "forge-std/Vm.sol";

/// @title What a node remembers of a contract's events
/// @notice `node` is whatever answers `eth_getLogs` and `rpc`: in a script, the cheatcodes.
library History {
    using Roles for Grant[];

    /// @notice The node's newest block. `block.number` is another number on some rollups.
    function head(Vm node) internal returns (uint256) {
        bytes memory quantity = node.rpc("eth_blockNumber", "[]");
        return abi.decode(bytes.concat(new bytes(32 - quantity.length), quantity), (uint256));
    }

    /// @notice The block in which `emitter` gave its first role. 0 where the node does not search that far at once.
    function birth(Vm node, address emitter) internal returns (uint256) {
        uint256 newest = head(node);
        try node.eth_getLogs(0, newest, emitter, _only(IAccessControl.RoleGranted.selector)) returns (
            Vm.EthGetLogs[] memory logs
        ) {
            return logs.length == 0 ? 0 : logs[0].blockNumber;
        } catch {
            return 0;
        }
    }

    /// @notice Every role that a contract has given since block `from`, and whether those are all that its events tell:
    /// whether it was created since.
    function grants(Vm node, address emitter, uint256 from)
        internal
        returns (Grant[] memory given, bool whole)
    {
        Vm.EthGetLogs[] memory logs =
            _between(node, emitter, IAccessControl.RoleGranted.selector, from, head(node));
        for (uint256 i = 0; i < logs.length; ++i) {
            given = given.with(logs[i].topics[1], address(uint160(uint256(logs[i].topics[2]))));
        }
        whole = logs.length != 0 && _isCreatedSince(node, emitter, from);
    }

    /// @notice Every implementation that a proxy was given since block `from`, in this order, without repetition.
    function implementations(Vm node, address proxy, uint256 from) internal returns (address[] memory ran) {
        Vm.EthGetLogs[] memory logs = _between(node, proxy, IERC1967.Upgraded.selector, from, head(node));
        bytes32[] memory distinct = _distinct(logs);
        ran = new address[](distinct.length);
        for (uint256 i = 0; i < ran.length; ++i) {
            ran[i] = address(uint160(uint256(distinct[i])));
        }
    }

    /// @notice Every operation that was ever announced in a timelock since block `from`.
    function operations(Vm node, address timelock, uint256 from) internal returns (bytes32[] memory ids) {
        bytes32 topic = TimelockController.CallScheduled.selector;
        return _distinct(_between(node, timelock, topic, from, head(node)));
    }

    /// @dev Events cannot tell it: a contract can look later as if it had just been created. So no code may have stood
    /// there before. A node that has forgotten that state is asked for older roles: whose creation is known to give
    /// some has none only if it is younger.
    function _isCreatedSince(Vm node, address emitter, uint256 from) private returns (bool) {
        if (from == 0) return true;
        string memory account = StdConstants.VM.toString(emitter);
        string memory params = string.concat('["', account, '","', _quantity(from - 1), '"]');
        try node.rpc("eth_getCode", params) returns (bytes memory code) {
            return code.length == 0;
        } catch {
            return _between(node, emitter, IAccessControl.RoleGranted.selector, 0, from - 1).length == 0;
        }
    }

    /// @dev Nodes bound the range of one request, each in its own way: the range is halved until it is answered.
    function _between(Vm node, address emitter, bytes32 topic, uint256 from, uint256 newest)
        private
        returns (Vm.EthGetLogs[] memory logs)
    {
        uint256 span = newest + 1;
        while (from <= newest) {
            uint256 to = Math.min(from + span - 1, newest);
            try node.eth_getLogs(from, to, emitter, _only(topic)) returns (Vm.EthGetLogs[] memory more) {
                logs = _joined(logs, more);
                from = to + 1;
            } catch (bytes memory reason) {
                require(span > 1, _refusal(emitter, from, reason));
                span /= 2;
            }
        }
    }

    function _refusal(address emitter, uint256 block_, bytes memory reason)
        private
        pure
        returns (string memory)
    {
        return string.concat(
            "the node refuses the events of ",
            StdConstants.VM.toString(emitter),
            " even for block ",
            StdConstants.VM.toString(block_),
            " alone: ",
            abi.decode(Bytes.slice(reason, 4), (string))
        );
    }

    function _joined(Vm.EthGetLogs[] memory logs, Vm.EthGetLogs[] memory more)
        private
        pure
        returns (Vm.EthGetLogs[] memory all)
    {
        if (more.length == 0) return logs;
        all = new Vm.EthGetLogs[](logs.length + more.length);
        for (uint256 i = 0; i < all.length; ++i) {
            all[i] = i < logs.length ? logs[i] : more[i - logs.length];
        }
    }

    /// @dev The first indexed field of each event, without repetition.
    function _distinct(Vm.EthGetLogs[] memory logs) private pure returns (bytes32[] memory values) {
        values = new bytes32[](logs.length);
        uint256 count;
        for (uint256 i = 0; i < logs.length; ++i) {
            uint256 j;
            while (j < count && values[j] != logs[i].topics[1]) ++j;
            if (j == count) values[count++] = logs[i].topics[1];
        }
        assembly ("memory-safe") {
            mstore(values, count)
        }
    }

    /// @dev As JSON-RPC wants numbers: hexadecimal, without leading zeros.
    function _quantity(uint256 value) private pure returns (string memory) {
        bytes memory digits = bytes(Strings.toHexString(value)); // an even number of them
        if (value != 0 && digits[2] != "0") return string(digits);
        return string(bytes.concat("0x", Bytes.slice(digits, 3)));
    }

    function _only(bytes32 topic) private pure returns (bytes32[] memory topics) {
        topics = new bytes32[](1);
        topics[0] = topic;
    }
}
