// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {StdConstants} from "forge-std/StdConstants.sol";
import {Vm} from "forge-std/Vm.sol";

/// @title Answers a script's questions about events from what has happened in the test
/// @notice Stands where a script has the cheatcodes, which ask a node and are refused where there is none.
contract RecordedNode {
    Vm private constant VM = StdConstants.VM;

    uint256 private _span = type(uint256).max;
    Vm.EthGetLogs[] private _logs;

    /// @notice How many requests were answered.
    uint256 public answered;

    constructor() {
        VM.recordLogs();
    }

    /// @notice Takes over what was emitted since it did so last, as events of the present block.
    function listen() public {
        Vm.Log[] memory logs = VM.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            Vm.EthGetLogs storage log = _logs.push();
            log.emitter = logs[i].emitter;
            log.topics = logs[i].topics;
            log.data = logs[i].data;
            log.blockNumber = uint64(block.number);
        }
    }

    /// @notice Refuses requests over more blocks from now on.
    function limit(uint256 blocks) external {
        _span = blocks;
    }

    function rpc(string calldata method, string calldata) external view returns (bytes memory) {
        require(keccak256(bytes(method)) == keccak256("eth_blockNumber"), "method not found");
        return abi.encodePacked(uint64(block.number));
    }

    // forge-lint: disable-next-line(mixed-case-function)
    function eth_getLogs(uint256 from, uint256 to, address emitter, bytes32[] calldata topics)
        external
        returns (Vm.EthGetLogs[] memory found)
    {
        require(to - from < _span, "range too large");
        listen();
        ++answered;
        uint256 count;
        found = new Vm.EthGetLogs[](_logs.length);
        for (uint256 i = 0; i < _logs.length; ++i) {
            Vm.EthGetLogs memory log = _logs[i];
            bool inRange = log.blockNumber >= from && log.blockNumber <= to;
            if (inRange && log.emitter == emitter && log.topics[0] == topics[0]) found[count++] = log;
        }
        assembly ("memory-safe") {
            mstore(found, count)
        }
    }
}
