// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {StdConstants} from "forge-std/StdConstants.sol";
import {Vm} from "forge-std/Vm.sol";

/// @title Answers a script's questions about events from what has happened in the test
/// @notice Stands where a script has the cheatcodes, which ask a node and are refused where there is none.
contract RecordedNode {
    Vm private constant VM = StdConstants.VM;

    uint256 private _span = type(uint256).max;
    bool private _pruned;
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

    /// @notice Forgets the states of past blocks.
    function prune() external {
        _pruned = true;
    }

    /// @dev Code counts as older than an account's first event, and as absent before its block.
    function rpc(string calldata method, string calldata params) external returns (bytes memory) {
        bytes32 asked = keccak256(bytes(method));
        if (asked == keccak256("eth_blockNumber")) return abi.encodePacked(uint64(block.number));
        require(asked == keccak256("eth_getCode"), "method not found");
        require(!_pruned, "missing trie node");
        listen();
        address account = VM.parseJsonAddress(params, "$[0]");
        uint256 number = VM.parseUint(VM.parseJsonString(params, "$[1]"));
        for (uint256 i = 0; i < _logs.length; ++i) {
            if (_logs[i].emitter == account && _logs[i].blockNumber <= number) return account.code;
        }
        return "";
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
