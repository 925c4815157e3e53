// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {Grant, Roles} from "./Roles.sol";
import {Initializable} from "@openzeppelin/contracts-upgradeable/proxy/utils/Initializable.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Bytes} from "@openzeppelin/contracts/utils/Bytes.sol";
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

    /// @notice Every role that a registry has given since block `from`, and whether it was created since.
    function ofRegistry(Vm node, address registry, uint256 from)
        internal
        returns (Grant[] memory grants, bool whole)
    {
        return _grants(node, registry, from, Initializable.Initialized.selector, bytes32(uint256(1)));
    }

    /// @notice Every role that a timelock has given since block `from`, and whether it was created since.
    function ofTimelock(Vm node, address timelock, uint256 from)
        internal
        returns (Grant[] memory grants, bool whole)
    {
        return _grants(node, timelock, from, TimelockController.MinDelayChange.selector, 0);
    }

    /// @dev The roles that a contract gives in its creation come with an event of the creation: its topic is `creation`,
    /// and its data begin with `firstWord`.
    function _grants(Vm node, address emitter, uint256 from, bytes32 creation, bytes32 firstWord)
        private
        returns (Grant[] memory grants, bool whole)
    {
        Vm.EthGetLogs[] memory logs = _since(node, emitter, IAccessControl.RoleGranted.selector, from);
        if (logs.length == 0) return (grants, false);
        for (uint256 i = 0; i < logs.length; ++i) {
            grants = grants.with(logs[i].topics[1], address(uint160(uint256(logs[i].topics[2]))));
        }

        uint256 first = logs[0].blockNumber;
        Vm.EthGetLogs[] memory beside = node.eth_getLogs(first, first, emitter, _only(creation));
        for (uint256 i = 0; i < beside.length; ++i) {
            if (bytes32(beside[i].data) == firstWord) whole = true;
        }
    }

    /// @dev Nodes bound the range of one request, each in its own way: the range is halved until it is answered.
    function _since(Vm node, address emitter, bytes32 topic, uint256 from)
        private
        returns (Vm.EthGetLogs[] memory logs)
    {
        uint256 newest = head(node);
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

    function _only(bytes32 topic) private pure returns (bytes32[] memory topics) {
        topics = new bytes32[](1);
        topics[0] = topic;
    }
}
