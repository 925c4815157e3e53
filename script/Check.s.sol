// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {JobRegistry} from "../contracts/JobRegistry.sol";
import {Findings, FindingsLib} from "./support/Findings.sol";
import {History} from "./support/History.sol";
import {Inspection} from "./support/Inspection.sol";
import {Birth, Plan, Plans} from "./support/Plan.sol";
import {Administration, RegistryReader} from "./support/RegistryReader.sol";
import {Grant, Roles} from "./support/Roles.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Script} from "forge-std/Script.sol";
import {Vm} from "forge-std/Vm.sol";
import {console} from "forge-std/console.sol";

/// @title Reads a deployment back and says everything that is wrong with it
/// @notice One line a finding, and failure if there is any. Run it from the checkout that is deployed.
///
/// Environment: what it was deployed with ({Plans-fromEnvironment}), REGISTRY, and where wanted QUORUMS ("1:2,2:3": lane 1
/// needs 2 confirmers, lane 2 needs 3; the others are closed), FROM_BLOCK and BIRTH (what the deployment returned; else 0,
/// and a birth with the present plan and this checkout), IMPLEMENTATIONS (comma separated: those that the registry ran
/// between its birth and this checkout), ANNOUNCED (comma separated: ids of the timelock's operations that are known) and
/// DEPLOYER (an account that should hold nothing).
///
/// Roles cannot be enumerated. The events tell them all only of a registry that was created as it should be and never
/// ran code that gives roles silently; so both is looked at, and BIRTH and IMPLEMENTATIONS name code that is trusted.
contract Check is Script {
    using FindingsLib for Findings;
    using Inspection for Findings;
    using Plans for Plan;
    using Roles for Grant[];

    /// @param birth What the registry was created with.
    /// @param implementations What it may have run besides that of its birth and that of this checkout.
    /// @param quorums By lane; lane 0 needs one confirmer.
    /// @param announced Operations that may be pending in the timelock.
    /// @param deployer Zero: not asked.
    struct Deployment {
        Plan plan;
        address registry;
        Birth birth;
        address[] implementations;
        uint8[32] quorums;
        uint256 fromBlock;
        bytes32[] announced;
        address deployer;
    }

    function run() external {
        Plan memory plan = Plans.fromEnvironment();
        Deployment memory deployment = Deployment({
            plan: plan,
            registry: vm.envAddress("REGISTRY"),
            birth: abi.decode(vm.envOr("BIRTH", abi.encode(plan.birth())), (Birth)),
            implementations: vm.envOr("IMPLEMENTATIONS", ",", new address[](0)),
            quorums: parseQuorums(vm.envOr("QUORUMS", string(""))),
            fromBlock: vm.envOr("FROM_BLOCK", uint256(0)),
            announced: vm.envOr("ANNOUNCED", ",", new bytes32[](0)),
            deployer: vm.envOr("DEPLOYER", address(0))
        });
        check(vm, deployment).refuse("the deployment is not in order");
        _summarise(deployment);
    }

    /// @param node See {History}.
    function check(Vm node, Deployment memory deployment) public returns (Findings memory findings) {
        address registry = deployment.registry;
        if (registry.code.length == 0) {
            findings.add(string.concat("registry ", vm.toString(registry), ": there is no code"));
            return findings;
        }
        findings.code(registry);
        RegistryReader reader = new RegistryReader();
        findings.identity(reader, JobRegistry(registry));

        _checkBirth(findings, deployment);
        _checkImplementations(findings, node, deployment);
        (Grant[] memory grants, bool whole) = History.grants(node, registry, deployment.fromBlock);
        _checkWhole(findings, "registry", whole, deployment.fromBlock);
        Administration memory expected = _expected(deployment);
        grants = grants.union(expected.holdings).with(Roles.UPGRADER, deployment.plan.upgrader());
        try reader.administration(JobRegistry(registry), grants) returns (Administration memory actual) {
            _checkAdministration(findings, node, deployment, actual, expected);
        } catch {
            findings.add("registry: it does not tell who administers it");
        }
    }

    /// @notice Reads "1:2,2:3" as quorums by lane.
    function parseQuorums(string memory text) public pure returns (uint8[32] memory quorums) {
        quorums[0] = 1;
        if (bytes(text).length == 0) return quorums;
        string[] memory entries = vm.split(text, ",");
        for (uint256 i = 0; i < entries.length; ++i) {
            string[] memory parts = vm.split(entries[i], ":");
            string memory wrong = string.concat("QUORUMS: ", entries[i], " is not lane:quorum");
            require(parts.length == 2, wrong);
            (uint256 lane, uint256 quorum) = (vm.parseUint(parts[0]), vm.parseUint(parts[1]));
            require(lane != 0 && lane < quorums.length, string.concat(wrong, ": lanes are 1 to 31"));
            require(quorum != 0 && quorum <= type(uint8).max, string.concat(wrong, ": quorums are 1 to 255"));
            require(quorums[lane] == 0, string.concat(wrong, ": this lane is named twice"));
            // forge-lint: disable-next-line(unsafe-typecast)
            quorums[lane] = uint8(quorum);
        }
    }

    /// @dev An address that follows from the creation code leaves no doubt of what was done in the creation.
    function _checkBirth(Findings memory findings, Deployment memory deployment) private pure {
        address born = Plans.registry(deployment.birth);
        if (born == deployment.registry) return;
        findings.add(
            string.concat(
                "registry: BIRTH, else the plan with this checkout, leads to ",
                vm.toString(born),
                ", so this one can have been created with roles that no event tells"
            )
        );
    }

    /// @dev An implementation can write whatever it likes, be replaced, and leave no other trace.
    function _checkImplementations(Findings memory findings, Vm node, Deployment memory deployment) private {
        address[] memory ran = History.implementations(node, deployment.registry, deployment.fromBlock);
        for (uint256 i = 0; i < ran.length; ++i) {
            bool known = ran[i] == deployment.birth.implementation || ran[i] == Plans.implementation();
            for (uint256 j = 0; j < deployment.implementations.length; ++j) {
                known = known || ran[i] == deployment.implementations[j];
            }
            if (known) continue;
            findings.add(
                string.concat(
                    "registry: ran implementation ",
                    vm.toString(ran[i]),
                    ", which is neither that of BIRTH nor this checkout's nor one of IMPLEMENTATIONS, so it can have",
                    " given roles that no event tells"
                )
            );
        }
    }

    function _checkAdministration(
        Findings memory findings,
        Vm node,
        Deployment memory deployment,
        Administration memory actual,
        Administration memory expected
    ) private {
        if (deployment.plan.timelockDelay == 0) {
            expected.holdings = expected.holdings.with(Roles.UPGRADER, deployment.plan.admin);
        } else {
            address timelock = _timelock(actual.holdings);
            if (timelock == address(0)) {
                findings.add("UPGRADER_ROLE: no timelock that this checkout builds holds it, and one should");
            } else {
                expected.holdings = expected.holdings.with(Roles.UPGRADER, timelock);
                _checkTimelock(findings, node, deployment, TimelockController(payable(timelock)));
            }
        }
        findings.administration(actual, expected);
        _checkQuorums(findings, actual);
        _checkDeployer(findings, "registry", actual.holdings, deployment.deployer);
    }

    /// @dev A quorum that the confirmers cannot reach is as good as none.
    function _checkQuorums(Findings memory findings, Administration memory actual) private pure {
        uint256 confirmers = actual.holdings.accounts(Roles.CONFIRMER).length;
        for (uint256 lane = 1; lane < actual.quorums.length; ++lane) {
            if (actual.quorums[lane] <= confirmers) continue;
            findings.add(
                string.concat(
                    "quorum of lane ",
                    vm.toString(lane),
                    ": is ",
                    vm.toString(actual.quorums[lane]),
                    ", which ",
                    vm.toString(confirmers),
                    " confirmer(s) cannot reach"
                )
            );
        }
    }

    function _checkTimelock(
        Findings memory findings,
        Vm node,
        Deployment memory deployment,
        TimelockController timelock
    ) private {
        string memory subject = string.concat("timelock ", vm.toString(address(timelock)));
        findings.compare(
            string.concat("delay of ", subject),
            string.concat(vm.toString(timelock.getMinDelay()), " s"),
            string.concat(vm.toString(deployment.plan.timelockDelay), " s")
        );
        _checkTimelockBirth(findings, deployment, address(timelock));
        (Grant[] memory grants, bool whole) = History.grants(node, address(timelock), deployment.fromBlock);
        _checkWhole(findings, subject, whole, deployment.fromBlock);

        Grant[] memory expected;
        expected = expected.with(Roles.DEFAULT_ADMIN, address(timelock));
        expected = expected.with(Roles.PROPOSER, deployment.plan.admin);
        expected = expected.with(Roles.CANCELLER, deployment.plan.admin);
        expected = expected.with(Roles.EXECUTOR, deployment.plan.admin);
        Grant[] memory actual = Roles.held(timelock, grants.union(expected));
        findings.holdings(string.concat(subject, " "), actual, expected);
        _checkAnnounced(findings, node, deployment, timelock, subject);
        _checkDeployer(findings, subject, actual, deployment.deployer);
    }

    /// @dev Whatever waits in the timelock will happen: an upgrade, another upgrader, a shorter delay.
    function _checkAnnounced(
        Findings memory findings,
        Vm node,
        Deployment memory deployment,
        TimelockController timelock,
        string memory subject
    ) private {
        bytes32[] memory ids = History.operations(node, address(timelock), deployment.fromBlock);
        for (uint256 i = 0; i < ids.length; ++i) {
            bool known = !timelock.isOperationPending(ids[i]);
            for (uint256 j = 0; j < deployment.announced.length; ++j) {
                known = known || ids[i] == deployment.announced[j];
            }
            if (known) continue;
            findings.add(
                string.concat(
                    subject,
                    ": operation ",
                    vm.toString(ids[i]),
                    " may be executed from ",
                    vm.toString(timelock.getTimestamp(ids[i])),
                    " on, and ANNOUNCED does not name it"
                )
            );
        }
    }

    /// @dev As for the registry. With another admin or another delay, the plan leads to a timelock of its own.
    function _checkTimelockBirth(Findings memory findings, Deployment memory deployment, address timelock)
        private
        pure
    {
        if (timelock == deployment.birth.plan.upgrader() || timelock == deployment.plan.upgrader()) return;
        findings.add(
            string.concat(
                "timelock ",
                vm.toString(timelock),
                ": neither BIRTH nor the plan leads to it, so it can have been created with roles that no event tells"
            )
        );
    }

    function _checkDeployer(
        Findings memory findings,
        string memory subject,
        Grant[] memory holdings,
        address deployer
    ) private pure {
        if (deployer == address(0)) return;
        for (uint256 i = 0; i < holdings.length; ++i) {
            if (holdings[i].account != deployer) continue;
            findings.add(
                string.concat(
                    "deployer ",
                    vm.toString(deployer),
                    ": holds ",
                    Roles.nameOf(holdings[i].role),
                    " of ",
                    subject,
                    ", and should hold nothing"
                )
            );
        }
    }

    function _checkWhole(Findings memory findings, string memory subject, bool whole, uint256 fromBlock)
        private
        pure
    {
        if (whole) return;
        findings.add(
            string.concat(
                subject,
                ": was not created since block ",
                vm.toString(fromBlock),
                ", so roles may be missing here; FROM_BLOCK should be lower"
            )
        );
    }

    /// @dev The upgrader that is a timelock. Its address need not be the plan's: it can have changed its own delay.
    function _timelock(Grant[] memory holdings) private view returns (address) {
        bytes32 codehash = keccak256(type(TimelockController).runtimeCode);
        address[] memory upgraders = holdings.accounts(Roles.UPGRADER);
        for (uint256 i = 0; i < upgraders.length; ++i) {
            if (upgraders[i].codehash == codehash) return upgraders[i];
        }
        return address(0);
    }

    /// @dev All but who upgrades.
    function _expected(Deployment memory deployment) private pure returns (Administration memory expected) {
        Plan memory plan = deployment.plan;
        expected.admin = plan.admin;
        // forge-lint: disable-next-line(unsafe-typecast)
        expected.adminDelay = uint48(plan.adminDelay); // `Plans.check` has bounded it
        expected.quorums = deployment.quorums;
        bytes32[5] memory roles = Roles.ofRegistry();
        for (uint256 i = 0; i < roles.length; ++i) {
            expected.roleAdmins[i] = roles[i] == Roles.UPGRADER ? Roles.UPGRADER : Roles.DEFAULT_ADMIN;
        }

        expected.holdings = expected.holdings.with(Roles.DEFAULT_ADMIN, plan.admin);
        expected.holdings = expected.holdings.with(Roles.REVOKER, plan.revoker);
        expected.holdings = expected.holdings.with(Roles.PAUSER, plan.pauser);
        for (uint256 i = 0; i < plan.confirmers.length; ++i) {
            expected.holdings = expected.holdings.with(Roles.CONFIRMER, plan.confirmers[i]);
        }
    }

    function _summarise(Deployment memory deployment) private view {
        Plan memory plan = deployment.plan;
        console.log("registry %s on chain %s is in order", deployment.registry, block.chainid);
        console.log("version: %s", JobRegistry(deployment.registry).version());
        console.log("implementation: %s", Inspection.implementationOf(deployment.registry));
        console.log("created with implementation: %s", deployment.birth.implementation);
        for (uint256 i = 0; i < deployment.implementations.length; ++i) {
            console.log("trusted implementation: %s", deployment.implementations[i]);
        }
        console.log("default admin: %s, delay %s s", plan.admin, plan.adminDelay);
        console.log(
            "upgrades: %s, announced %s s before",
            plan.timelockDelay == 0 ? "by the default admin" : "by its timelock",
            plan.timelockDelay
        );
        for (uint256 i = 0; i < deployment.announced.length; ++i) {
            console.log("announced, if it is pending: %s", vm.toString(deployment.announced[i]));
        }
        console.log("confirmers: %s", plan.confirmers.length);
        for (uint256 lane = 0; lane < deployment.quorums.length; ++lane) {
            if (deployment.quorums[lane] != 0) {
                console.log("lane %s: quorum %s", lane, deployment.quorums[lane]);
            }
        }
    }
}
