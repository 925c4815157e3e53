// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {JobRegistry} from "../contracts/JobRegistry.sol";
import {Findings, FindingsLib} from "./support/Findings.sol";
import {History} from "./support/History.sol";
import {Inspection} from "./support/Inspection.sol";
import {Plans} from "./support/Plan.sol";
import {Administration, RegistryReader} from "./support/RegistryReader.sol";
import {Grant, Roles} from "./support/Roles.sol";
import {SafeBatch, SafeTransaction} from "./support/SafeBatch.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {Bytes} from "@openzeppelin/contracts/utils/Bytes.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Script} from "forge-std/Script.sol";
import {Vm, VmSafe} from "forge-std/Vm.sol";
import {console} from "forge-std/console.sol";

/// @title Prepares the upgrade of a registry to the implementation of this checkout
/// @notice Deploys the implementation from any funded account, rehearses the upgrade on a copy of the chain's state, and
/// writes what the Safe has to send. Needs no key of an administrator.
///
/// Environment: REGISTRY, ADMIN (the Safe), and where wanted FROM_BLOCK (what the deployment returned; else 0), MIGRATION
/// (calldata that the registry runs with the upgrade), ROOTS and WORDS (comma separated: batches and word indices that
/// must come through unchanged) and OUT (a folder under `.build/`; else `.build/upgrade`), in which each chain, registry and
/// version has a folder of its own.
contract Upgrade is Script {
    using FindingsLib for Findings;
    using Inspection for Findings;
    using Roles for Grant[];

    struct Request {
        JobRegistry registry;
        address admin;
        uint256 fromBlock;
        bytes migration;
        bytes32[] roots;
        uint256[] words;
    }

    /// @notice One transaction of the admin.
    /// @param notBefore In Unix seconds.
    struct Step {
        string name;
        uint256 notBefore;
        SafeTransaction transaction;
    }

    /// @dev No operation has to be executed before an upgrade.
    bytes32 private constant PREDECESSOR = 0;

    function run() external returns (address implementation) {
        Request memory request = Request({
            registry: JobRegistry(vm.envAddress("REGISTRY")),
            admin: vm.envAddress("ADMIN"),
            fromBlock: vm.envOr("FROM_BLOCK", uint256(0)),
            migration: vm.envOr("MIGRATION", bytes("")),
            roots: vm.envOr("ROOTS", ",", new bytes32[](0)),
            words: vm.envOr("WORDS", ",", new uint256[](0))
        });
        Step[] memory steps;
        (implementation, steps) = prepare(vm, request);
        console.log("implementation: %s", implementation);
        write(steps, request, vm.envOr("OUT", string(".build/upgrade")));
    }

    /// @notice Deploys the implementation and rehearses the upgrade.
    /// @param node See {History}.
    /// @return implementation The implementation of this checkout.
    /// @return steps What the admin has to send, in this order.
    function prepare(Vm node, Request memory request)
        public
        returns (address implementation, Step[] memory steps)
    {
        implementation = _deploy(request.registry);
        (Grant[] memory grants, bool whole) =
            History.grants(node, address(request.registry), request.fromBlock);
        require(whole, "the registry was not created since FROM_BLOCK, which should be lower");

        for (uint256 i = 0; i < request.roots.length; ++i) {
            require(
                request.registry.batch(request.roots[i]).format != 0,
                string.concat("ROOTS: there is no batch ", vm.toString(request.roots[i]))
            );
        }

        steps = _steps(request, implementation, grants);
        _rehearse(request, implementation, grants, steps);
    }

    /// @notice Writes each step as a file for the Safe app's Transaction Builder, and prints it.
    /// @param out Where each chain, registry and version has a folder of its own. What an earlier run has left there goes.
    /// @return folder That folder.
    function write(Step[] memory steps, Request memory request, string memory out)
        public
        returns (string memory folder)
    {
        string memory version = new JobRegistry().version();
        string memory registry = vm.toString(address(request.registry));
        folder = string.concat(out, "/", vm.toString(block.chainid), "-", registry, "-", version);
        _clear(folder);
        for (uint256 i = 0; i < steps.length; ++i) {
            Step memory step = steps[i];
            string memory path = string.concat(folder, "/", step.name, ".json");
            string memory title = string.concat("JobRegistry ", version, ": ", step.name);
            SafeBatch.write(path, request.admin, title, step.transaction);
            console.log("%s: %s, for %s", step.name, path, request.admin);
            console.log("  not before: %s", step.notBefore);
            console.log("  to: %s", step.transaction.to);
            console.log("  value: 0");
            console.log("  data: %s", vm.toString(step.transaction.data));
        }
    }

    /// @dev A step of yesterday beside those of today would be signed like them.
    function _clear(string memory folder) private {
        vm.createDir(folder, true);
        VmSafe.DirEntry[] memory entries = vm.readDir(folder);
        for (uint256 i = 0; i < entries.length; ++i) {
            if (_endsWith(entries[i].path, ".json")) vm.removeFile(entries[i].path);
        }
    }

    function _endsWith(string memory text, string memory end) private pure returns (bool) {
        (uint256 length, uint256 tail) = (bytes(text).length, bytes(end).length);
        return length >= tail && keccak256(Bytes.slice(bytes(text), length - tail)) == keccak256(bytes(end));
    }

    function _deploy(JobRegistry registry) private returns (address implementation) {
        require(address(registry).code.length != 0, "there is no code at REGISTRY");
        require(
            !Inspection.isOfThisCheckout(Inspection.implementationOf(address(registry))),
            "the registry runs the implementation of this checkout already"
        );
        implementation = Plans.implementation();
        vm.startBroadcast();
        if (implementation.code.length == 0) new JobRegistry{salt: Plans.SALT}();
        vm.stopBroadcast();
    }

    /// @dev The admin upgrades where it may, else through a timelock that may and in which it proposes and executes.
    function _steps(Request memory request, address implementation, Grant[] memory grants)
        private
        view
        returns (Step[] memory steps)
    {
        JobRegistry registry = request.registry;
        bytes memory upgrade = abi.encodeCall(registry.upgradeToAndCall, (implementation, request.migration));
        Grant[] memory holdings = Roles.held(registry, grants);
        if (holdings.contain(Roles.UPGRADER, request.admin)) {
            steps = new Step[](1);
            steps[0] = Step("upgrade", block.timestamp, SafeTransaction(address(registry), upgrade));
            return steps;
        }
        address[] memory upgraders = holdings.accounts(Roles.UPGRADER);
        for (uint256 i = 0; i < upgraders.length; ++i) {
            if (
                _hasRole(upgraders[i], Roles.PROPOSER, request.admin)
                    && _hasRole(upgraders[i], Roles.EXECUTOR, request.admin)
            ) return _timelockSteps(TimelockController(payable(upgraders[i])), registry, upgrade);
        }
        revert("ADMIN does not upgrade this registry, and no timelock does on its behalf");
    }

    /// @dev Schedules and executes, or executes what is scheduled already. An operation can be executed only once, so the
    /// same upgrade, done again after another, takes the next salt.
    function _timelockSteps(TimelockController timelock, JobRegistry registry, bytes memory upgrade)
        private
        view
        returns (Step[] memory steps)
    {
        uint256 salt;
        while (timelock.isOperationDone(_operation(timelock, registry, upgrade, salt))) ++salt;
        Step memory execute = Step({
            name: "execute",
            notBefore: timelock.getTimestamp(_operation(timelock, registry, upgrade, salt)),
            transaction: SafeTransaction(
                address(timelock),
                abi.encodeCall(timelock.execute, (address(registry), 0, upgrade, PREDECESSOR, bytes32(salt)))
            )
        });
        if (execute.notBefore != 0) {
            steps = new Step[](1);
            steps[0] = execute;
            return steps;
        }
        uint256 delay = timelock.getMinDelay();
        execute.notBefore = block.timestamp + delay;
        steps = new Step[](2);
        steps[0] = Step({
            name: "schedule",
            notBefore: block.timestamp,
            transaction: SafeTransaction(
                address(timelock),
                abi.encodeCall(
                    timelock.schedule, (address(registry), 0, upgrade, PREDECESSOR, bytes32(salt), delay)
                )
            )
        });
        steps[1] = execute;
    }

    function _operation(TimelockController timelock, JobRegistry registry, bytes memory upgrade, uint256 salt)
        private
        pure
        returns (bytes32)
    {
        return timelock.hashOperation(address(registry), 0, upgrade, PREDECESSOR, bytes32(salt));
    }

    /// @dev False for whatever is no contract with roles.
    function _hasRole(address target, bytes32 role, address account) private view returns (bool) {
        (bool answered, bytes memory answer) =
            target.staticcall(abi.encodeCall(IAccessControl.hasRole, (role, account)));
        return answered && answer.length == 32 && abi.decode(answer, (uint256)) == 1;
    }

    /// @dev Does the steps in the admin's name and looks at what has become of the registry, then takes it all back.
    function _rehearse(
        Request memory request,
        address implementation,
        Grant[] memory grants,
        Step[] memory steps
    ) private {
        RegistryReader reader = new RegistryReader();
        Administration memory before = reader.administration(request.registry, grants);
        bytes32[] memory records = _records(request);
        uint256 untouched = vm.snapshotState();

        vm.recordLogs();
        for (uint256 i = 0; i < steps.length; ++i) {
            vm.warp(Math.max(block.timestamp, steps[i].notBefore));
            vm.prank(request.admin);
            Address.functionCall(steps[i].transaction.to, steps[i].transaction.data);
        }

        Findings memory findings;
        findings.compare(
            "implementation",
            vm.toString(Inspection.implementationOf(address(request.registry))),
            vm.toString(implementation)
        );
        findings.code(address(request.registry));
        findings.identity(reader, request.registry);
        grants = _withRecorded(grants, address(request.registry));
        findings.administration(reader.administration(request.registry, grants), before);
        _compareRecords(findings, request, records);
        vm.revertToState(untouched);
        findings.refuse("the rehearsed upgrade does more than it should, or less");
    }

    /// @dev With the roles that `registry` gave while logs were recorded.
    function _withRecorded(Grant[] memory grants, address registry) private returns (Grant[] memory) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            bytes32[] memory topics = logs[i].topics;
            if (logs[i].emitter == registry && topics[0] == IAccessControl.RoleGranted.selector) {
                grants = grants.with(topics[1], address(uint160(uint256(topics[2]))));
            }
        }
        return grants;
    }

    /// @dev A hash of each of the caller's batches, then of each of its words.
    function _records(Request memory request) private view returns (bytes32[] memory records) {
        uint256 roots = request.roots.length;
        records = new bytes32[](roots + request.words.length);
        for (uint256 i = 0; i < roots; ++i) {
            records[i] = keccak256(abi.encode(request.registry.batch(request.roots[i])));
        }
        for (uint256 i = 0; i < request.words.length; ++i) {
            (uint256 confirmed, uint256 revoked) = request.registry.word(SafeCast.toUint64(request.words[i]));
            records[roots + i] = keccak256(abi.encode(confirmed, revoked));
        }
    }

    function _compareRecords(Findings memory findings, Request memory request, bytes32[] memory before)
        private
        view
    {
        bytes32[] memory records = _records(request);
        uint256 roots = request.roots.length;
        for (uint256 i = 0; i < records.length; ++i) {
            if (records[i] == before[i]) continue;
            string memory record = i < roots
                ? string.concat("batch ", vm.toString(request.roots[i]))
                : string.concat("word ", vm.toString(request.words[i - roots]));
            findings.add(string.concat(record, ": is changed"));
        }
    }
}
