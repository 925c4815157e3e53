// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {JobRegistry} from "../../contracts/JobRegistry.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {Arrays} from "@openzeppelin/contracts/utils/Arrays.sol";
import {StdConstants} from "forge-std/StdConstants.sol";
import {Vm} from "forge-std/Vm.sol";

/// @notice What a registry is deployed with. The same plan leads to the same addresses on every chain.
/// @param admin Default admin: the Safe.
/// @param adminDelay Seconds that a transfer of the default admin has to wait.
/// @param confirmers Confirm batches; their order means nothing.
/// @param pauser Stops confirming.
/// @param revoker Revokes confirmed jobs.
/// @param timelockDelay Seconds between the announcement of an upgrade and the upgrade; 0: the admin upgrades at once,
/// without a timelock.
struct Plan {
    address admin;
    uint256 adminDelay;
    address[] confirmers;
    address pauser;
    address revoker;
    uint256 timelockDelay;
}

/// @notice What a registry's address follows from: the plan and the implementation that it was created with.
struct Birth {
    Plan plan;
    address implementation;
}

/// @title From a plan to what is deployed
/// @notice Addresses follow from bytecode and plan alone (CREATE2).
library Plans {
    bytes32 internal constant SALT = keccak256("jobseal.JobRegistry");

    /// @dev A longer delay is a mistake of the unit, and one that holds upgrades up for years.
    uint256 internal constant LONGEST_DELAY = 365 days;

    Vm private constant VM = StdConstants.VM;

    /// @notice Environment: ADMIN, ADMIN_DELAY (seconds), CONFIRMERS (comma separated), PAUSER, and where wanted REVOKER
    /// (else ADMIN) and TIMELOCK_DELAY (seconds; else no timelock).
    function fromEnvironment() internal view returns (Plan memory plan) {
        address admin = VM.envAddress("ADMIN");
        plan = Plan({
            admin: admin,
            adminDelay: VM.envUint("ADMIN_DELAY"),
            confirmers: VM.envAddress("CONFIRMERS", ","),
            pauser: VM.envAddress("PAUSER"),
            revoker: VM.envOr("REVOKER", admin),
            timelockDelay: VM.envOr("TIMELOCK_DELAY", uint256(0))
        });
        check(plan);
    }

    /// @notice Refuses a plan that cannot be meant.
    function check(Plan memory plan) internal pure {
        require(plan.admin != address(0), "ADMIN is the zero address");
        require(plan.pauser != address(0), "PAUSER is the zero address");
        require(plan.revoker != address(0), "REVOKER is the zero address");
        require(plan.adminDelay <= LONGEST_DELAY, "ADMIN_DELAY is longer than a year; it is in seconds");
        require(plan.timelockDelay <= LONGEST_DELAY, "TIMELOCK_DELAY is longer than a year; it is in seconds");

        require(plan.confirmers.length != 0, "CONFIRMERS is empty");
        address[] memory confirmers = sortedConfirmers(plan);
        address previous;
        for (uint256 i = 0; i < confirmers.length; ++i) {
            require(confirmers[i] != address(0), "CONFIRMERS holds the zero address");
            require(
                confirmers[i] != previous,
                string.concat("CONFIRMERS holds ", VM.toString(confirmers[i]), " twice")
            );
            previous = confirmers[i];
        }
    }

    /// @notice Where the implementation of this checkout lies, or will lie.
    function implementation() internal pure returns (address) {
        return VM.computeCreate2Address(SALT, keccak256(type(JobRegistry).creationCode));
    }

    /// @notice How the plan's registry is created by this checkout.
    function birth(Plan memory plan) internal pure returns (Birth memory) {
        return Birth({plan: plan, implementation: implementation()});
    }

    /// @notice Where the plan's registry lies, or will lie: the proxy.
    function registry(Plan memory plan) internal pure returns (address) {
        return registry(birth(plan));
    }

    /// @notice Where a registry with this birth lies, and no other: its address follows from every step of its creation.
    function registry(Birth memory birth_) internal pure returns (address) {
        bytes memory arguments = abi.encode(birth_.implementation, initialization(birth_.plan));
        return VM.computeCreate2Address(
            SALT, keccak256(abi.encodePacked(type(ERC1967Proxy).creationCode, arguments))
        );
    }

    /// @notice Who upgrades: the plan's timelock, or without one the admin.
    function upgrader(Plan memory plan) internal pure returns (address) {
        if (plan.timelockDelay == 0) return plan.admin;
        address[] memory operators = timelockOperators(plan);
        bytes memory arguments = abi.encode(plan.timelockDelay, operators, operators, address(0));
        return VM.computeCreate2Address(
            SALT, keccak256(abi.encodePacked(type(TimelockController).creationCode, arguments))
        );
    }

    /// @notice Who proposes, cancels and executes in the plan's timelock.
    function timelockOperators(Plan memory plan) internal pure returns (address[] memory operators) {
        operators = new address[](1);
        operators[0] = plan.admin;
    }

    /// @notice The call with which the plan's proxy is born.
    function initialization(Plan memory plan) internal pure returns (bytes memory) {
        return abi.encodeCall(
            JobRegistry.initialize,
            (JobRegistry.Setup({
                    admin: plan.admin,
                    // forge-lint: disable-next-line(unsafe-typecast)
                    adminDelay: uint48(plan.adminDelay), // `check` has bounded it
                    upgrader: upgrader(plan),
                    revoker: plan.revoker,
                    pauser: plan.pauser,
                    confirmers: sortedConfirmers(plan)
                }))
        );
    }

    /// @dev A copy in ascending order, so that the order in which they were named does not change an address.
    function sortedConfirmers(Plan memory plan) private pure returns (address[] memory sorted) {
        sorted = new address[](plan.confirmers.length);
        for (uint256 i = 0; i < sorted.length; ++i) {
            sorted[i] = plan.confirmers[i];
        }
        Arrays.sort(sorted);
    }
}
