// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {EarlierRegistry, MaskedRegistry, WrongAnswers} from "./support/OtherRegistries.sol";
import {SafeAccount} from "./support/SafeAccount.sol";
import {ScriptTest} from "./support/ScriptTest.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {IJobRegistry, Revocation, Word} from "contracts/interfaces/IJobRegistry.sol";
import {VmSafe} from "forge-std/Vm.sol";
import {Upgrade} from "script/Upgrade.s.sol";
import {Inspection} from "script/support/Inspection.sol";
import {Plan, Plans} from "script/support/Plan.sol";

contract UpgradeTest is ScriptTest {
    uint64 private constant INDEX = 5;

    Upgrade private script;
    Upgrade.Request private request;

    function setUp() public override {
        super.setUp();
        script = new Upgrade();
        useRegistry(plan());
    }

    function test_DeploysTheImplementationOnce() public {
        assertEq(Plans.implementation().code.length, 0);
        (address implementation,) = script.prepare(nodeVm(), request);
        assertEq(implementation, Plans.implementation());
        assertTrue(Inspection.isOfThisCheckout(implementation));

        vm.startStateDiffRecording();
        script.prepare(nodeVm(), request);
        VmSafe.AccountAccess[] memory accesses = vm.stopAndReturnStateDiff();
        for (uint256 i = 0; i < accesses.length; ++i) {
            bool created = accesses[i].kind == VmSafe.AccountAccessKind.Create;
            assertFalse(created && accesses[i].account == implementation);
        }
    }

    function test_RehearsesAndLeavesNothingBehind() public {
        (uint256 time, address before) = (block.timestamp, implementationOf());
        script.prepare(nodeVm(), request);
        assertEq(implementationOf(), before);
        assertEq(request.registry.version(), "0.9.0");
        assertEq(block.timestamp, time);
    }

    function test_Direct_IsOneCallOfTheRegistry() public {
        (address implementation, Upgrade.Step[] memory steps) = script.prepare(nodeVm(), request);
        assertEq(steps.length, 1);
        assertEq(steps[0].name, "upgrade");
        assertEq(steps[0].notBefore, block.timestamp);
        assertEq(steps[0].transaction.to, address(request.registry));
        assertEq(steps[0].transaction.data, upgradeCall(implementation));
    }

    function test_Direct_TheSafeUpgrades() public {
        SafeAccount account = useSafe(0);
        bytes32 root = confirm();
        (address implementation, Upgrade.Step[] memory steps) = script.prepare(nodeVm(), request);
        account.send(steps[0].transaction);

        assertEq(implementationOf(), implementation);
        assertEq(request.registry.version(), new JobRegistry().version());
        assertTrue(request.registry.isConfirmed(INDEX << 8));
        assertEq(request.registry.batch(root).jobs, 1);
    }

    function test_Timelock_IsScheduledAndExecuted() public {
        TimelockController timelock = useRegistry(timelockPlan());
        (address implementation, Upgrade.Step[] memory steps) = script.prepare(nodeVm(), request);
        address registry = address(request.registry);
        bytes memory upgrade = upgradeCall(implementation);

        assertEq(steps.length, 2);
        assertEq(steps[0].name, "schedule");
        assertEq(steps[0].notBefore, block.timestamp);
        assertEq(steps[0].transaction.to, address(timelock));
        assertEq(
            steps[0].transaction.data,
            abi.encodeCall(timelock.schedule, (registry, 0, upgrade, 0, 0, TIMELOCK_DELAY))
        );
        assertEq(steps[1].name, "execute");
        assertEq(steps[1].notBefore, block.timestamp + TIMELOCK_DELAY);
        assertEq(steps[1].transaction.to, address(timelock));
        assertEq(steps[1].transaction.data, abi.encodeCall(timelock.execute, (registry, 0, upgrade, 0, 0)));
    }

    function test_Timelock_TheSafeUpgradesAfterTheDelayAndNotBefore() public {
        SafeAccount account = useSafe(TIMELOCK_DELAY);
        confirm();
        (address implementation, Upgrade.Step[] memory steps) = script.prepare(nodeVm(), request);
        vm.expectRevert("GS013"); // the Safe's word for a call that failed
        account.send(steps[1].transaction);

        account.send(steps[0].transaction);
        vm.warp(steps[1].notBefore - 1);
        vm.expectRevert("GS013");
        account.send(steps[1].transaction);

        vm.warp(steps[1].notBefore);
        account.send(steps[1].transaction);
        assertEq(implementationOf(), implementation);
        assertTrue(request.registry.isConfirmed(INDEX << 8));
    }

    function test_Timelock_OnceScheduled_IsOnlyExecuted() public {
        useRegistry(timelockPlan());
        (, Upgrade.Step[] memory steps) = script.prepare(nodeVm(), request);
        send(steps[0]);

        skip(TIMELOCK_DELAY / 2);
        (, Upgrade.Step[] memory waiting) = script.prepare(nodeVm(), request);
        assertEq(waiting.length, 1);
        assertEq(keccak256(abi.encode(waiting[0])), keccak256(abi.encode(steps[1])));

        skip(TIMELOCK_DELAY);
        (, Upgrade.Step[] memory ready) = script.prepare(nodeVm(), request);
        assertEq(keccak256(abi.encode(ready)), keccak256(abi.encode(waiting)));
        send(ready[0]);
        assertEq(implementationOf(), Plans.implementation());
    }

    function test_Timelock_DoneBefore_TakesTheNextSalt() public {
        TimelockController timelock = useRegistry(timelockPlan());
        bytes memory back = abi.encodeCall(request.registry.upgradeToAndCall, (implementationOf(), ""));
        (, Upgrade.Step[] memory steps) = script.prepare(nodeVm(), request);
        send(steps[0]);
        send(steps[1]);
        throughTimelock(timelock, address(request.registry), back);

        (address implementation, Upgrade.Step[] memory again) = script.prepare(nodeVm(), request);
        assertEq(
            again[1].transaction.data,
            abi.encodeCall(
                timelock.execute,
                (address(request.registry), 0, upgradeCall(implementation), 0, bytes32(uint256(1)))
            )
        );
        send(again[0]);
        send(again[1]);
        assertEq(implementationOf(), implementation);
    }

    function test_RunsTheMigrationWithTheUpgrade() public {
        confirm();
        request.migration = abi.encodeCall(IJobRegistry.revoke, (onlyTicket(), "migrated"));
        grantToAdmin(REVOKER_ROLE);
        (, Upgrade.Step[] memory steps) = script.prepare(nodeVm(), request);
        assertFalse(request.registry.isRevoked(INDEX << 8));
        send(steps[0]);
        assertEq(implementationOf(), Plans.implementation());
        assertTrue(request.registry.isRevoked(INDEX << 8));
    }

    function test_RevertWhen_TheMigrationReverts() public {
        request.migration = abi.encodeCall(IJobRegistry.setQuorum, (0, 1));
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.LaneWithoutQuorum.selector, 0));
        script.prepare(nodeVm(), request);
    }

    function test_RevertWhen_RolesChange() public {
        request.migration = abi.encodeCall(request.registry.grantRole, (CONFIRMER_ROLE, ANYONE));
        expectRefused(string.concat("CONFIRMER_ROLE: ", vm.toString(ANYONE), " holds it, and should not"));

        request.migration = abi.encodeCall(request.registry.revokeRole, (PAUSER_ROLE, PAUSER));
        expectRefused(string.concat("PAUSER_ROLE: ", vm.toString(PAUSER), " does not hold it, and should"));
    }

    function test_RevertWhen_TheMigrationUpgradesElsewhere() public {
        address elsewhere = address(new JobRegistry());
        request.migration = abi.encodeCall(request.registry.upgradeToAndCall, (elsewhere, ""));
        expectRefused(
            string.concat(
                "implementation: is ",
                vm.toString(elsewhere),
                ", should be ",
                vm.toString(Plans.implementation())
            )
        );
    }

    function test_RevertWhen_QuorumsChange() public {
        request.migration = abi.encodeCall(IJobRegistry.setQuorum, (1, 2));
        expectRefused("quorum of lane 1: is 2, should be 0");
    }

    function test_RevertWhen_TheAdminOrItsDelayChange() public {
        request.migration = abi.encodeCall(request.registry.beginDefaultAdminTransfer, (ANYONE));
        expectRefused(
            string.concat(
                "transfer of the default admin: is to ",
                vm.toString(ANYONE),
                ", who may accept after 1750086400, should be none"
            )
        );
        request.migration = abi.encodeCall(request.registry.changeDefaultAdminDelay, (0));
        expectRefused("change of the default admin delay: is to 0 s after 1750086400, should be none");
    }

    function test_RevertWhen_TheRegistryIsPausedByIt() public {
        grantToAdmin(PAUSER_ROLE);
        request.migration = abi.encodeCall(IJobRegistry.pause, ());
        expectRefused("paused: is true, should be false");
    }

    function test_RevertWhen_ANamedWordChanges() public {
        confirm();
        grantToAdmin(REVOKER_ROLE);
        request.migration = abi.encodeCall(IJobRegistry.revoke, (onlyTicket(), ""));
        request.words.push(INDEX - 1);
        request.words.push(INDEX);
        expectRefused("word 5: is changed");
    }

    function test_RevertWhen_ANamedBatchChanges() public {
        request.roots.push(confirm());
        script.prepare(nodeVm(), request);

        address masked = address(
            new MaskedRegistry(implementationOf(), address(new WrongAnswers()), IJobRegistry.batch.selector)
        );
        vm.prank(ADMIN);
        request.registry.upgradeToAndCall(masked, "");
        expectRefused(string.concat("batch ", vm.toString(request.roots[0]), ": is changed"));
    }

    function test_KeepsPauseAndQuorumsAsTheyWere() public {
        vm.prank(PAUSER);
        request.registry.pause();
        vm.prank(ADMIN);
        request.registry.setQuorum(3, 2);
        (, Upgrade.Step[] memory steps) = script.prepare(nodeVm(), request);
        send(steps[0]);
        assertTrue(request.registry.paused());
        assertEq(request.registry.quorum(3), 2);
    }

    function test_RevertWhen_ItIsUpgradedAlready() public {
        (, Upgrade.Step[] memory steps) = script.prepare(nodeVm(), request);
        send(steps[0]);
        vm.expectRevert("the registry runs the implementation of this checkout already");
        script.prepare(nodeVm(), request);

        address same = address(new JobRegistry());
        vm.prank(ADMIN);
        request.registry.upgradeToAndCall(same, "");
        vm.expectRevert("the registry runs the implementation of this checkout already");
        script.prepare(nodeVm(), request);
    }

    function test_RevertWhen_ThereIsNoCode() public {
        request.registry = JobRegistry(ANYONE);
        vm.expectRevert("there is no code at REGISTRY");
        script.prepare(nodeVm(), request);
    }

    function test_RevertWhen_TheHistoryIsNotWhole() public {
        node.listen();
        vm.roll(BIRTH + 1);
        request.fromBlock = BIRTH + 1;
        vm.expectRevert("the registry was not created since FROM_BLOCK, which should be lower");
        script.prepare(nodeVm(), request);
    }

    function test_RevertWhen_ANamedBatchIsUnknown() public {
        request.roots.push(bytes32(uint256(6)));
        vm.expectRevert(
            "ROOTS: there is no batch 0x0000000000000000000000000000000000000000000000000000000000000006"
        );
        script.prepare(nodeVm(), request);
    }

    function test_RevertWhen_TheAdminDoesNotUpgrade() public {
        request.admin = ANYONE;
        vm.expectRevert("ADMIN does not upgrade this registry, and no timelock does on its behalf");
        script.prepare(nodeVm(), request);

        useRegistry(timelockPlan());
        request.admin = ANYONE;
        vm.expectRevert("ADMIN does not upgrade this registry, and no timelock does on its behalf");
        script.prepare(nodeVm(), request);
    }

    function test_Write_MakesAFileForEachStep() public {
        useRegistry(timelockPlan());
        (, Upgrade.Step[] memory steps) = script.prepare(nodeVm(), request);
        string memory folder = script.write(steps, request, ".build/test/upgrade");
        for (uint256 i = 0; i < steps.length; ++i) {
            string memory file = vm.readFile(string.concat(folder, "/", steps[i].name, ".json"));
            assertEq(vm.parseJsonString(file, ".version"), "1.0");
            assertEq(vm.parseJsonString(file, ".chainId"), "31337");
            assertEq(vm.parseJsonUint(file, ".createdAt"), block.timestamp * 1000);
            assertEq(vm.parseJsonAddress(file, ".meta.createdFromSafeAddress"), ADMIN);
            assertEq(vm.parseJsonAddress(file, ".transactions[0].to"), steps[i].transaction.to);
            assertEq(vm.parseJsonString(file, ".transactions[0].value"), "0");
            assertEq(vm.parseJsonBytes(file, ".transactions[0].data"), steps[i].transaction.data);
            assertFalse(vm.keyExistsJson(file, ".transactions[1]"));
        }
    }

    function test_Write_LeavesNothingOfAnEarlierRun() public {
        useRegistry(timelockPlan());
        string memory out = ".build/test/upgrade-again";
        (, Upgrade.Step[] memory steps) = script.prepare(nodeVm(), request);
        string memory folder = script.write(steps, request, out);
        vm.writeFile(string.concat(folder, "/notes.txt"), "what somebody keeps there");
        send(steps[0]);
        (, steps) = script.prepare(nodeVm(), request);
        assertEq(script.write(steps, request, out), folder);
        assertFalse(vm.exists(string.concat(folder, "/schedule.json")));
        assertTrue(vm.exists(string.concat(folder, "/execute.json")));
        assertTrue(vm.exists(string.concat(folder, "/notes.txt")));
    }

    function test_Write_KeepsChainsAndRegistriesApart() public {
        Upgrade.Step[] memory none;
        string memory version = new JobRegistry().version();
        string memory registry = vm.toString(address(request.registry));
        assertEq(
            script.write(none, request, ".build/test/upgrades"),
            string.concat(".build/test/upgrades/31337-", registry, "-", version)
        );
        vm.chainId(5);
        request.registry = JobRegistry(ANYONE);
        assertEq(
            script.write(none, request, ".build/test/upgrades"),
            string.concat(".build/test/upgrades/5-", vm.toString(ANYONE), "-", version)
        );
    }

    /// @dev A registry that runs the earlier implementation; the one of this checkout is not deployed.
    function useRegistry(Plan memory planned) private returns (TimelockController timelock) {
        if (planned.timelockDelay != 0) {
            address[] memory operators = Plans.timelockOperators(planned);
            vm.startBroadcast();
            timelock = new TimelockController{salt: Plans.SALT}(
                planned.timelockDelay, operators, operators, address(0)
            );
            vm.stopBroadcast();
        }
        address earlier = address(new EarlierRegistry());
        address proxy = address(new ERC1967Proxy(earlier, Plans.initialization(planned)));
        request.registry = JobRegistry(proxy);
        request.admin = planned.admin;
        request.fromBlock = BIRTH;
        node.listen();
    }

    function useSafe(uint256 timelockDelay) private returns (SafeAccount account) {
        account = new SafeAccount();
        Plan memory planned = plan();
        planned.admin = address(account.SAFE());
        planned.timelockDelay = timelockDelay;
        useRegistry(planned);
    }

    function grantToAdmin(bytes32 role) private {
        vm.prank(ADMIN);
        request.registry.grantRole(role, ADMIN);
    }

    function confirm() private returns (bytes32) {
        Word[] memory words = new Word[](1);
        words[0] = Word({index: INDEX, mask: 1, root: keccak256("word")});
        vm.prank(CONFIRMER);
        return request.registry.confirmBatch(words);
    }

    function onlyTicket() private pure returns (Revocation[] memory words) {
        words = new Revocation[](1);
        words[0] = Revocation({index: INDEX, mask: 1});
    }

    function send(Upgrade.Step memory step) private {
        vm.warp(Math.max(block.timestamp, step.notBefore));
        vm.prank(ADMIN);
        (bool sent,) = step.transaction.to.call(step.transaction.data);
        assertTrue(sent);
    }

    function expectRefused(string memory finding) private {
        vm.expectRevert(
            bytes(string.concat("the rehearsed upgrade does more than it should, or less\n", finding))
        );
        script.prepare(nodeVm(), request);
    }

    function implementationOf() private view returns (address) {
        return Inspection.implementationOf(address(request.registry));
    }

    function upgradeCall(address implementation) private view returns (bytes memory) {
        return abi.encodeCall(request.registry.upgradeToAndCall, (implementation, ""));
    }
}
