// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {RecordedNode} from "./RecordedNode.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {Test} from "forge-std/Test.sol";
import {Vm} from "forge-std/Vm.sol";
import {Deploy} from "script/Deploy.s.sol";
import {Plan} from "script/support/Plan.sol";

/// @title Registries deployed by the script itself
abstract contract ScriptTest is Test {
    bytes32 internal constant CONFIRMER_ROLE = keccak256("CONFIRMER_ROLE");
    bytes32 internal constant PAUSER_ROLE = keccak256("PAUSER_ROLE");
    bytes32 internal constant REVOKER_ROLE = keccak256("REVOKER_ROLE");
    bytes32 internal constant UPGRADER_ROLE = keccak256("UPGRADER_ROLE");

    uint256 internal constant ADMIN_DELAY = 1 days;
    uint256 internal constant TIMELOCK_DELAY = 2 days;
    uint256 internal constant BIRTH = 1000;

    address internal immutable ADMIN = makeAddr("admin");
    address internal immutable PAUSER = makeAddr("pauser");
    address internal immutable REVOKER = makeAddr("revoker");
    address internal immutable CONFIRMER = makeAddr("confirmer");
    address internal immutable OTHER_CONFIRMER = makeAddr("other confirmer");
    address internal immutable ANYONE = makeAddr("anyone");

    RecordedNode internal node;
    Deploy internal deployment;

    function setUp() public virtual {
        vm.warp(1_750_000_000);
        vm.roll(BIRTH);
        node = new RecordedNode();
        deployment = new Deploy();
    }

    function plan() internal view returns (Plan memory) {
        address[] memory confirmers = new address[](2);
        (confirmers[0], confirmers[1]) = (CONFIRMER, OTHER_CONFIRMER);
        return Plan({
            admin: ADMIN,
            adminDelay: ADMIN_DELAY,
            confirmers: confirmers,
            pauser: PAUSER,
            revoker: REVOKER,
            timelockDelay: 0
        });
    }

    function timelockPlan() internal view returns (Plan memory planned) {
        planned = plan();
        planned.timelockDelay = TIMELOCK_DELAY;
    }

    function deploy(Plan memory planned) internal returns (JobRegistry) {
        (address registry,,) = deployment.deploy(planned);
        return JobRegistry(registry);
    }

    function deployWithTimelock() internal returns (JobRegistry registry, TimelockController timelock) {
        (address proxy,, address upgrader) = deployment.deploy(timelockPlan());
        return (JobRegistry(proxy), TimelockController(payable(upgrader)));
    }

    /// @dev Lets the timelock make a call, as the admin has to.
    function throughTimelock(TimelockController timelock, address target, bytes memory data) internal {
        uint256 delay = timelock.getMinDelay();
        vm.prank(ADMIN);
        timelock.schedule(target, 0, data, 0, 0, delay);
        skip(delay);
        vm.prank(ADMIN);
        timelock.execute(target, 0, data, 0, 0);
    }

    /// @dev The node as a script sees it.
    function nodeVm() internal view returns (Vm) {
        return Vm(address(node));
    }
}
