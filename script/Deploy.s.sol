// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {JobRegistry} from "../contracts/JobRegistry.sol";
import {History} from "./support/History.sol";
import {Plan, Plans} from "./support/Plan.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Script} from "forge-std/Script.sol";
import {console} from "forge-std/console.sol";

/// @title Deploys a JobRegistry behind its proxy, and the timelock that upgrades it where one is wanted
/// @notice All addresses follow from bytecode and plan alone (CREATE2), so running the script again changes nothing and
/// finds the same registry. Another plan, or another implementation, makes another registry: to change the
/// implementation of one that exists, upgrade it. Whoever deploys gets no role.
///
/// Environment: that of {Plans-fromEnvironment}, and ADMIN_IS_KEY=1 where ADMIN is meant to have no code.
contract Deploy is Script {
    using Plans for Plan;

    /// @return registry The proxy: the address to pin.
    /// @return implementation What the proxy was created with.
    /// @return fromBlock No event of the registry or of its timelock is older than this block.
    /// @return upgrader The timelock, or without one the admin.
    /// @return birth What the registry's address follows from, for {Check}: an encoded {Birth}.
    function run()
        external
        returns (
            address registry,
            address implementation,
            uint256 fromBlock,
            address upgrader,
            bytes memory birth
        )
    {
        Plan memory plan = Plans.fromEnvironment();
        checkAdmin(plan, vm.envOr("ADMIN_IS_KEY", uint256(0)) == 1);
        fromBlock = _fromBlock(plan);
        (registry, implementation, upgrader) = deploy(plan);
        birth = abi.encode(plan.birth());

        console.log("chain: %s", block.chainid);
        console.log("registry: %s", registry);
        console.log("implementation: %s", implementation);
        console.log("from block: %s", fromBlock);
        console.log("upgrader: %s", upgrader);
        console.log("birth: %s", vm.toString(birth));
    }

    /// @notice Refuses an admin without code: a Safe of another chain, which nobody may ever control on this one.
    function checkAdmin(Plan memory plan, bool isKey) public view {
        require(
            isKey || plan.admin.code.length != 0,
            "ADMIN has no code on this chain, so it is no Safe; where a key is meant, set ADMIN_IS_KEY=1"
        );
    }

    function deploy(Plan memory plan)
        public
        returns (address registry, address implementation, address upgrader)
    {
        require(
            CREATE2_FACTORY.code.length != 0,
            string.concat("this chain has no deterministic deployer at ", vm.toString(CREATE2_FACTORY))
        );
        (registry, implementation, upgrader) = (plan.registry(), Plans.implementation(), plan.upgrader());

        vm.startBroadcast();
        if (plan.timelockDelay != 0 && upgrader.code.length == 0) {
            address[] memory operators = plan.timelockOperators();
            new TimelockController{salt: Plans.SALT}(plan.timelockDelay, operators, operators, address(0));
        }
        if (implementation.code.length == 0) new JobRegistry{salt: Plans.SALT}();
        if (registry.code.length == 0) {
            new ERC1967Proxy{salt: Plans.SALT}(implementation, plan.initialization());
        }
        vm.stopBroadcast();
    }

    /// @dev A timelock may be older than the registry: plans with the same admin and the same delay share it.
    function _fromBlock(Plan memory plan) private returns (uint256 fromBlock) {
        fromBlock = History.head(vm);
        address registry = plan.registry();
        if (registry.code.length != 0) fromBlock = History.birth(vm, registry);
        address upgrader = plan.upgrader();
        if (plan.timelockDelay != 0 && upgrader.code.length != 0) {
            fromBlock = Math.min(fromBlock, History.birth(vm, upgrader));
        }
    }
}
