// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {JobRegistry} from "../contracts/JobRegistry.sol";
import {IERC1967} from "@openzeppelin/contracts/interfaces/IERC1967.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Script} from "forge-std/Script.sol";
import {Vm} from "forge-std/Vm.sol";
import {console} from "forge-std/console.sol";

/// @title Deploys a JobRegistry behind its proxy
/// @notice Both addresses follow from bytecode and parameters alone (CREATE2), so running the script again changes
/// nothing and finds the same registry. Other parameters, or another implementation, make another registry: to
/// change the implementation of one that exists, upgrade it.
///
/// Environment: ADMIN, ADMIN_DELAY (seconds), CONFIRMERS (comma separated), PAUSER.
contract Deploy is Script {
    bytes32 private constant SALT = keccak256("jobseal.JobRegistry");

    /// @return registry The proxy: the address to pin.
    /// @return implementation What the proxy was created with.
    /// @return fromBlock No event of the registry is older than this block.
    function run() external returns (address registry, address implementation, uint256 fromBlock) {
        bytes memory setUp = abi.encodeCall(
            JobRegistry.initialize,
            (JobRegistry.Setup({
                    admin: vm.envAddress("ADMIN"),
                    adminDelay: SafeCast.toUint48(vm.envUint("ADMIN_DELAY")),
                    upgrader: vm.envAddress("ADMIN"),
                    revoker: vm.envAddress("ADMIN"),
                    pauser: vm.envAddress("PAUSER"),
                    confirmers: vm.envAddress("CONFIRMERS", ",")
                }))
        );
        implementation = vm.computeCreate2Address(SALT, keccak256(type(JobRegistry).creationCode));
        bytes memory arguments = abi.encode(implementation, setUp);
        registry = vm.computeCreate2Address(
            SALT, keccak256(abi.encodePacked(type(ERC1967Proxy).creationCode, arguments))
        );
        fromBlock = registry.code.length == 0 ? block.number : _creationBlock(registry);

        vm.startBroadcast();
        if (implementation.code.length == 0) new JobRegistry{salt: SALT}();
        if (registry.code.length == 0) new ERC1967Proxy{salt: SALT}(implementation, setUp);
        vm.stopBroadcast();

        console.log("registry: %s", registry);
        console.log("implementation: %s", implementation);
        console.log("from block: %s", fromBlock);
    }

    /// @dev A proxy's first event is the `Upgraded` of its creation. 0 where the node does not search that far.
    function _creationBlock(address registry) private returns (uint256) {
        bytes32[] memory topics = new bytes32[](1);
        topics[0] = IERC1967.Upgraded.selector;
        try vm.eth_getLogs(0, block.number, registry, topics) returns (Vm.EthGetLogs[] memory logs) {
            return logs.length == 0 ? 0 : logs[0].blockNumber;
        } catch {
            return 0;
        }
    }
}
