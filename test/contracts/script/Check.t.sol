// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {
    ChangedBirth,
    EarlierRegistry,
    MaskedRegistry,
    OpenRegistry,
    OtherProxy,
    RoleAdminRegistry,
    SilentRegistry,
    WrongAnswers
} from "./support/OtherRegistries.sol";
import {ScriptTest} from "./support/ScriptTest.sol";
import {PausableUpgradeable} from "@openzeppelin/contracts-upgradeable/utils/PausableUpgradeable.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {Check} from "script/Check.s.sol";
import {Inspection} from "script/support/Inspection.sol";
import {Birth, Plan, Plans} from "script/support/Plan.sol";

contract CheckTest is ScriptTest {
    bytes32 private constant PROPOSER_ROLE = keccak256("PROPOSER_ROLE");
    bytes32 private constant EXECUTOR_ROLE = keccak256("EXECUTOR_ROLE");
    bytes32 private constant CANCELLER_ROLE = keccak256("CANCELLER_ROLE");

    Check private script;
    JobRegistry private registry;
    Check.Deployment private checked;
    string[] private expected;

    function setUp() public override {
        super.setUp();
        script = new Check();
        examine(deploy(plan()), plan());
    }

    function test_FindsNothing() public {
        assertFindings();
    }

    function test_FindsNothing_WithATimelock() public {
        useTimelock();
        assertFindings();
    }

    function test_FindsNothing_OfWhoHeldARoleOnce() public {
        vm.startPrank(ADMIN);
        registry.grantRole(CONFIRMER_ROLE, ANYONE);
        registry.revokeRole(CONFIRMER_ROLE, ANYONE);
        assertFindings();
    }

    function test_FindsNothing_InQuorumsThatAreExpected() public {
        setQuorum(1, 1);
        setQuorum(31, 2);
        checked.quorums = script.parseQuorums("1:1,31:2");
        assertFindings();
    }

    function test_FindsNothing_OfADeployerWithoutRoles() public {
        checked.deployer = address(deployment);
        assertFindings();
    }

    function test_FindsNothing_AfterTheAdminWasHandedOver() public {
        handOver(ANYONE);
        checked.plan.admin = ANYONE;
        vm.startPrank(ADMIN);
        registry.grantRole(UPGRADER_ROLE, ANYONE);
        registry.renounceRole(UPGRADER_ROLE, ADMIN);
        assertFindings();
    }

    function test_FindsNothing_AfterTheAdminWasHandedOverWithItsTimelock() public {
        TimelockController timelock = useTimelock();
        bytes32[3] memory roles = [PROPOSER_ROLE, CANCELLER_ROLE, EXECUTOR_ROLE];
        for (uint256 i = 0; i < roles.length; ++i) {
            throughTimelock(
                timelock, address(timelock), abi.encodeCall(timelock.grantRole, (roles[i], ANYONE))
            );
        }
        for (uint256 i = 0; i < roles.length; ++i) {
            vm.prank(ADMIN);
            timelock.renounceRole(roles[i], ADMIN);
        }
        handOver(ANYONE);
        checked.plan.admin = ANYONE;
        assertFindings();
    }

    function test_FindsNothing_AfterTheTimelockChangedItsDelay() public {
        TimelockController timelock = useTimelock();
        throughTimelock(timelock, address(timelock), abi.encodeCall(timelock.updateDelay, (7 days)));
        checked.plan.timelockDelay = 7 days;
        assertFindings();
    }

    function test_FindsNothing_OfAnImplementationOfTheBirth() public {
        address earlier = address(new EarlierRegistry());
        Birth memory birth = Birth({plan: plan(), implementation: earlier});
        vm.startBroadcast();
        address proxy = address(new ERC1967Proxy{salt: Plans.SALT}(earlier, Plans.initialization(plan())));
        vm.stopBroadcast();
        examine(JobRegistry(proxy), plan());
        checked.birth = birth;
        upgrade(Plans.implementation());
        delete checked.implementations;
        assertFindings();
    }

    function test_FindsNothing_OfImplementationsThatAreNamed() public {
        upgrade(address(new EarlierRegistry()));
        upgrade(Plans.implementation());
        assertFindings();
    }

    function test_Finds_ACreationWithHiddenHolders() public {
        ChangedBirth changed =
            new ChangedBirth(Plans.implementation(), Plans.initialization(plan()), UPGRADER_ROLE, ANYONE);
        examine(JobRegistry(address(changed)), plan());
        assertTrue(registry.hasRole(UPGRADER_ROLE, ANYONE));
        expectAnotherBirth(plan());
        assertFindings();
    }

    function test_Finds_AnotherBirth() public {
        checked.birth.plan.pauser = ANYONE;
        expectAnotherBirth(checked.birth.plan);
        assertFindings();
    }

    function test_Finds_AnImplementationThatNobodyNames() public {
        SilentRegistry silent = new SilentRegistry();
        upgrade(address(silent));
        SilentRegistry(address(registry)).write(UPGRADER_ROLE, ANYONE);
        upgrade(Plans.implementation());
        delete checked.implementations;
        assertTrue(registry.hasRole(UPGRADER_ROLE, ANYONE));
        expect(
            string.concat(
                "registry: ran implementation ",
                vm.toString(address(silent)),
                ", which is neither that of BIRTH nor this checkout's nor one of IMPLEMENTATIONS, so it can have",
                " given roles that no event tells"
            )
        );
        assertFindings();
    }

    /// @dev An implementation that lies about the past as well: it makes the registry look as if it had just been born.
    function test_Finds_AnImplementationFromBeforeTheHistory() public {
        SilentRegistry silent = new SilentRegistry();
        upgrade(address(silent));
        SilentRegistry(address(registry)).write(UPGRADER_ROLE, ANYONE);
        node.listen();
        vm.roll(BIRTH + 1);
        SilentRegistry(address(registry)).pretendBirth(CONFIRMER);
        upgrade(Plans.implementation());
        delete checked.implementations;
        checked.fromBlock = BIRTH + 1;
        expectNotWhole("registry");
        assertFindings();
    }

    function test_Finds_NoCode() public {
        checked.registry = ANYONE;
        expect(string.concat("registry ", vm.toString(ANYONE), ": there is no code"));
        assertFindings();
    }

    function test_Finds_AnotherProxy() public {
        bytes memory initialization = Plans.initialization(plan());
        address other = address(new OtherProxy(Plans.implementation(), initialization));
        examine(JobRegistry(other), plan());
        expect("registry: its code is not the proxy that this checkout builds");
        expectAnotherBirth(plan());
        assertFindings();
    }

    function test_Finds_AnotherImplementationAndVersion() public {
        address earlier = address(new EarlierRegistry());
        upgrade(earlier);
        expectCode(earlier);
        expect(string.concat("version: is 0.9.0, should be ", new JobRegistry().version()));
        assertFindings();
    }

    function test_Finds_InitialisersThatAreOpen() public {
        address open = address(new OpenRegistry());
        upgrade(open);
        expect(string.concat("implementation ", vm.toString(open), ": its initialisers are not disabled"));
        assertFindings();
    }

    function test_Finds_AnUnsupportedInterface() public {
        expectCode(mask(JobRegistry.supportsInterface.selector));
        expect("ERC-165: IJobRegistry, 0x7ee360cb, is not supported, and should be");
        assertFindings();
    }

    function test_Finds_AnotherDomain() public {
        expectCode(mask(JobRegistry.eip712Domain.selector));
        expect("EIP-712 name: is JobRegister, should be JobRegistry");
        expect("EIP-712 version: is 2, should be 1");
        expect("EIP-712 chain: is 5, should be 31337");
        expect(
            string.concat(
                "EIP-712 contract: is 0x0000000000000000000000000000000000000006, should be ",
                vm.toString(address(registry))
            )
        );
        assertFindings();
    }

    function test_Finds_WhatDoesNotAnswer() public {
        expectCode(mask(JobRegistry.version.selector));
        expect("registry: it does not tell its version, interfaces and EIP-712 domain");
        assertFindings();

        delete expected;
        expectCode(mask(PausableUpgradeable.paused.selector));
        expect("registry: it does not tell who administers it");
        assertFindings();
    }

    function test_Finds_AContractThatIsNoRegistry() public {
        checked.registry = address(this);
        expect("registry: its code is not the proxy that this checkout builds");
        expectCode(address(0));
        expect("implementation 0x0000000000000000000000000000000000000000: its initialisers are not disabled");
        expect("registry: it does not tell its version, interfaces and EIP-712 domain");
        expectAnotherBirth(plan());
        expectNotWhole("registry");
        expect("registry: it does not tell who administers it");
        assertFindings();
    }

    function test_Finds_AnotherAdmin() public {
        handOver(ANYONE);
        expect(string.concat("default admin: is ", vm.toString(ANYONE), ", should be ", vm.toString(ADMIN)));
        expectUnexpected("", 0, ANYONE);
        expectMissing("", 0, ADMIN);
        assertFindings();
    }

    function test_Finds_AnotherAdminDelay() public {
        checked.plan.adminDelay = 2 days;
        expect("default admin delay: is 86400 s, should be 172800 s");
        assertFindings();
    }

    function test_Finds_APendingTransferOfTheAdmin() public {
        vm.prank(ADMIN);
        registry.beginDefaultAdminTransfer(ANYONE);
        expect(
            string.concat(
                "transfer of the default admin: is to ",
                vm.toString(ANYONE),
                ", who may accept after 1750086400, should be none"
            )
        );
        assertFindings();
    }

    function test_Finds_APendingChangeOfTheAdminDelay() public {
        vm.prank(ADMIN);
        registry.changeDefaultAdminDelay(1 hours);
        expect("change of the default admin delay: is to 3600 s after 1750082800, should be none");
        assertFindings();
    }

    function test_Finds_Pause() public {
        vm.prank(PAUSER);
        registry.pause();
        expect("paused: is true, should be false");
        assertFindings();
    }

    function test_Finds_AnotherAdminOfARole() public {
        RoleAdminRegistry open = new RoleAdminRegistry();
        upgrade(address(open));
        RoleAdminRegistry(address(registry)).setRoleAdmin(UPGRADER_ROLE, 0);
        RoleAdminRegistry(address(registry)).setRoleAdmin(PAUSER_ROLE, CONFIRMER_ROLE);
        upgrade(Plans.implementation());
        expect("admin of PAUSER_ROLE: is CONFIRMER_ROLE, should be DEFAULT_ADMIN_ROLE");
        expect("admin of UPGRADER_ROLE: is DEFAULT_ADMIN_ROLE, should be UPGRADER_ROLE");
        assertFindings();
    }

    function test_Finds_UnexpectedHolders() public {
        bytes32[4] memory roles = [CONFIRMER_ROLE, PAUSER_ROLE, REVOKER_ROLE, UPGRADER_ROLE];
        for (uint256 i = 0; i < roles.length; ++i) {
            vm.prank(ADMIN);
            registry.grantRole(roles[i], ANYONE);
            expectUnexpected("", roles[i], ANYONE);
        }
        assertFindings();
    }

    function test_Finds_HoldersOfUnknownRoles() public {
        vm.prank(ADMIN);
        registry.grantRole(bytes32(uint256(5)), ANYONE);
        expect(
            string.concat(
                "role 0x0000000000000000000000000000000000000000000000000000000000000005: ",
                vm.toString(ANYONE),
                " holds it, and should not"
            )
        );
        assertFindings();
    }

    function test_Finds_MissingHolders() public {
        vm.startPrank(ADMIN);
        registry.revokeRole(REVOKER_ROLE, REVOKER);
        registry.revokeRole(PAUSER_ROLE, PAUSER);
        registry.revokeRole(CONFIRMER_ROLE, CONFIRMER);
        registry.renounceRole(UPGRADER_ROLE, ADMIN);
        vm.stopPrank();
        expectMissing("", REVOKER_ROLE, REVOKER);
        expectMissing("", PAUSER_ROLE, PAUSER);
        expectMissing("", CONFIRMER_ROLE, CONFIRMER);
        expectMissing("", UPGRADER_ROLE, ADMIN);
        assertFindings();
    }

    function test_Finds_AQuorumThatIsNotExpected() public {
        setQuorum(1, 2);
        setQuorum(2, 1);
        checked.quorums = script.parseQuorums("2:2,3:1");
        expect("quorum of lane 1: is 2, should be 0");
        expect("quorum of lane 2: is 1, should be 2");
        expect("quorum of lane 3: is 0, should be 1");
        assertFindings();
    }

    function test_Finds_AQuorumThatCannotBeReached() public {
        setQuorum(4, 3);
        checked.quorums = script.parseQuorums("4:3");
        expect("quorum of lane 4: is 3, which 2 confirmer(s) cannot reach");
        assertFindings();
    }

    function test_Finds_TheDeployersRoles() public {
        useTimelock();
        checked.deployer = ADMIN;
        string memory deployer = string.concat("deployer ", vm.toString(ADMIN));
        string memory timelock = string.concat("timelock ", vm.toString(Plans.upgrader(checked.plan)));
        string[3] memory roles = ["PROPOSER_ROLE", "CANCELLER_ROLE", "EXECUTOR_ROLE"];
        for (uint256 i = 0; i < roles.length; ++i) {
            expect(
                string.concat(deployer, ": holds ", roles[i], " of ", timelock, ", and should hold nothing")
            );
        }
        expect(string.concat(deployer, ": holds DEFAULT_ADMIN_ROLE of registry, and should hold nothing"));
        assertFindings();
    }

    function test_Finds_AHistoryThatIsNotWhole() public {
        node.listen();
        vm.roll(BIRTH + 1);
        checked.fromBlock = BIRTH + 1;
        expectNotWhole("registry");
        assertFindings();
    }

    function test_Finds_ATimelockThatIsOlderThanItsHistory() public {
        TimelockController timelock = useTimelock();
        node.listen();
        vm.roll(BIRTH + 1);
        Plan memory other = timelockPlan();
        other.pauser = ANYONE;
        examine(deploy(other), other);
        assertEq(Plans.upgrader(other), address(timelock));
        checked.fromBlock = BIRTH + 1;
        expectNotWhole(string.concat("timelock ", vm.toString(address(timelock))));
        assertFindings();
    }

    /// @dev It gave its delay to itself when everything was in place, so it looks as if it had just been created.
    function test_Finds_ATimelockThatWasCreatedOtherwise() public {
        vm.roll(BIRTH - 1);
        address[] memory operators = new address[](1);
        operators[0] = ANYONE;
        TimelockController timelock = new TimelockController(0, operators, operators, address(this));
        node.listen();
        vm.roll(BIRTH);
        bytes32[3] memory roles = [PROPOSER_ROLE, CANCELLER_ROLE, EXECUTOR_ROLE];
        for (uint256 i = 0; i < roles.length; ++i) {
            timelock.grantRole(roles[i], ADMIN);
        }
        timelock.renounceRole(0, address(this));
        bytes memory delay = abi.encodeCall(timelock.updateDelay, (TIMELOCK_DELAY));
        vm.startPrank(ANYONE);
        timelock.schedule(address(timelock), 0, delay, 0, 0, 0);
        timelock.execute(address(timelock), 0, delay, 0, 0);
        vm.stopPrank();

        useTimelock();
        moveUpgrades(address(timelock));
        string memory subject = string.concat("timelock ", vm.toString(address(timelock)));
        expect(
            string.concat(
                subject,
                ": neither BIRTH nor the plan leads to it, so it can have been created with roles that no event tells"
            )
        );
        expectNotWhole(subject);
        assertFindings();
    }

    function test_FindsNothing_OfTheTimelockOfALaterPlan() public {
        useTimelock();
        checked.plan.timelockDelay = 7 days;
        (,, address later) = deployment.deploy(checked.plan);
        moveUpgrades(later);
        assertFindings();
    }

    function test_Finds_AnUpgraderThatIsNoTimelock() public {
        checked.plan.timelockDelay = TIMELOCK_DELAY;
        expect("UPGRADER_ROLE: no timelock that this checkout builds holds it, and one should");
        expectUnexpected("", UPGRADER_ROLE, ADMIN);
        assertFindings();
    }

    function test_Finds_AnUpgraderBesideTheTimelock() public {
        TimelockController timelock = useTimelock();
        throughTimelock(
            timelock, address(registry), abi.encodeCall(registry.grantRole, (UPGRADER_ROLE, ANYONE))
        );
        expectUnexpected("", UPGRADER_ROLE, ANYONE);
        assertFindings();
    }

    function test_Finds_AnotherTimelockDelay() public {
        TimelockController timelock = useTimelock();
        throughTimelock(timelock, address(timelock), abi.encodeCall(timelock.updateDelay, (60)));
        expect(
            string.concat(
                "delay of timelock ", vm.toString(address(timelock)), ": is 60 s, should be 172800 s"
            )
        );
        assertFindings();
    }

    function test_Finds_UnexpectedRolesInTheTimelock() public {
        TimelockController timelock = useTimelock();
        string memory owner = string.concat("timelock ", vm.toString(address(timelock)), " ");
        bytes32[4] memory roles = [PROPOSER_ROLE, CANCELLER_ROLE, EXECUTOR_ROLE, bytes32(0)];
        for (uint256 i = 0; i < roles.length; ++i) {
            throughTimelock(
                timelock, address(timelock), abi.encodeCall(timelock.grantRole, (roles[i], ANYONE))
            );
            expectUnexpected(owner, roles[i], ANYONE);
        }
        assertFindings();
    }

    function test_Finds_MissingRolesInTheTimelock() public {
        TimelockController timelock = useTimelock();
        string memory owner = string.concat("timelock ", vm.toString(address(timelock)), " ");
        bytes32[3] memory roles = [PROPOSER_ROLE, CANCELLER_ROLE, EXECUTOR_ROLE];
        for (uint256 i = 0; i < roles.length; ++i) {
            vm.prank(ADMIN);
            timelock.renounceRole(roles[i], ADMIN);
            expectMissing(owner, roles[i], ADMIN);
        }
        assertFindings();
    }

    function test_Finds_WhatIsAnnounced() public {
        TimelockController timelock = useTimelock();
        bytes32[2] memory ids;
        for (uint256 i = 0; i < 2; ++i) {
            ids[i] = announce(timelock, bytes32(i + 1));
            skip(1 hours);
        }
        skip(TIMELOCK_DELAY); // what is due is still to come
        for (uint256 i = 0; i < 2; ++i) {
            expect(
                string.concat(
                    "timelock ",
                    vm.toString(address(timelock)),
                    ": operation ",
                    vm.toString(ids[i]),
                    " may be executed from ",
                    vm.toString(timelock.getTimestamp(ids[i])),
                    " on, and ANNOUNCED does not name it"
                )
            );
        }
        assertFindings();
    }

    function test_FindsNothing_OfOperationsThatAreNamedOrOver() public {
        TimelockController timelock = useTimelock();
        throughTimelock(timelock, address(timelock), abi.encodeCall(timelock.updateDelay, (TIMELOCK_DELAY)));
        bytes32 cancelled = announce(timelock, bytes32(uint256(1)));
        vm.prank(ADMIN);
        timelock.cancel(cancelled);
        checked.announced.push(announce(timelock, bytes32(uint256(2))));
        assertFindings();
    }

    function test_ParseQuorums() public view {
        uint8[32] memory quorums = script.parseQuorums("");
        assertEq(quorums[0], 1);
        for (uint256 lane = 1; lane < 32; ++lane) {
            assertEq(quorums[lane], 0);
        }
        quorums = script.parseQuorums("1:2,31:255");
        assertEq(quorums[1], 2);
        assertEq(quorums[31], 255);
    }

    function test_ParseQuorums_RevertWhen_ItIsNotLanesAndQuorums() public {
        string[2][7] memory wrong = [
            ["1", ""],
            ["1:2:3", ""],
            ["0:1", ": lanes are 1 to 31"],
            ["32:1", ": lanes are 1 to 31"],
            ["1:0", ": quorums are 1 to 255"],
            ["1:256", ": quorums are 1 to 255"],
            ["1:2,1:2", ": this lane is named twice"]
        ];
        for (uint256 i = 0; i < wrong.length; ++i) {
            string memory entry = i == 6 ? "1:2" : wrong[i][0];
            vm.expectRevert(bytes(string.concat("QUORUMS: ", entry, " is not lane:quorum", wrong[i][1])));
            script.parseQuorums(wrong[i][0]);
        }
    }

    function examine(JobRegistry deployed, Plan memory planned) private {
        registry = deployed;
        checked.plan = planned;
        checked.registry = address(deployed);
        checked.birth = Plans.birth(planned);
        checked.quorums = script.parseQuorums("");
        checked.fromBlock = BIRTH;
    }

    function useTimelock() private returns (TimelockController timelock) {
        JobRegistry deployed;
        (deployed, timelock) = deployWithTimelock();
        examine(deployed, timelockPlan());
    }

    /// @dev From the timelock of the birth to another.
    function moveUpgrades(address upgrader) private {
        TimelockController timelock = TimelockController(payable(Plans.upgrader(checked.birth.plan)));
        throughTimelock(
            timelock, address(registry), abi.encodeCall(registry.grantRole, (UPGRADER_ROLE, upgrader))
        );
        throughTimelock(
            timelock,
            address(registry),
            abi.encodeCall(registry.renounceRole, (UPGRADER_ROLE, address(timelock)))
        );
    }

    /// @dev To an implementation that is named.
    function upgrade(address implementation) private {
        checked.implementations.push(implementation);
        vm.prank(ADMIN);
        registry.upgradeToAndCall(implementation, "");
    }

    /// @dev Behind the registry, something that answers `masked` wrongly, or not at all.
    function mask(bytes4 masked) private returns (address masked_) {
        masked_ = address(new MaskedRegistry(Plans.implementation(), address(new WrongAnswers()), masked));
        upgrade(masked_);
    }

    /// @dev An upgrade.
    function announce(TimelockController timelock, bytes32 salt) private returns (bytes32) {
        bytes memory data = abi.encodeCall(registry.upgradeToAndCall, (address(this), ""));
        vm.prank(ADMIN);
        timelock.schedule(address(registry), 0, data, 0, salt, TIMELOCK_DELAY);
        return timelock.hashOperation(address(registry), 0, data, 0, salt);
    }

    function setQuorum(uint8 lane, uint8 k) private {
        vm.prank(ADMIN);
        registry.setQuorum(lane, k);
    }

    function handOver(address admin) private {
        vm.prank(ADMIN);
        registry.beginDefaultAdminTransfer(admin);
        skip(ADMIN_DELAY + 1);
        vm.prank(admin);
        registry.acceptDefaultAdminTransfer();
    }

    function expect(string memory finding) private {
        expected.push(finding);
    }

    function expectCode(address implementation) private {
        expect(
            string.concat(
                "implementation ", vm.toString(implementation), ": its code is not what this checkout builds"
            )
        );
    }

    function expectNotWhole(string memory subject) private {
        expect(
            string.concat(
                subject,
                ": was not created since block ",
                vm.toString(checked.fromBlock),
                ", so roles may be missing here; FROM_BLOCK should be lower"
            )
        );
    }

    function expectAnotherBirth(Plan memory planned) private {
        expect(
            string.concat(
                "registry: BIRTH, else the plan with this checkout, leads to ",
                vm.toString(Plans.registry(planned)),
                ", so this one can have been created with roles that no event tells"
            )
        );
    }

    function expectUnexpected(string memory owner, bytes32 role, address account) private {
        expect(string.concat(owner, nameOf(role), ": ", vm.toString(account), " holds it, and should not"));
    }

    function expectMissing(string memory owner, bytes32 role, address account) private {
        expect(
            string.concat(owner, nameOf(role), ": ", vm.toString(account), " does not hold it, and should")
        );
    }

    function nameOf(bytes32 role) private pure returns (string memory) {
        string[8] memory names = [
            "CONFIRMER_ROLE",
            "PAUSER_ROLE",
            "REVOKER_ROLE",
            "UPGRADER_ROLE",
            "PROPOSER_ROLE",
            "EXECUTOR_ROLE",
            "CANCELLER_ROLE",
            "DEFAULT_ADMIN_ROLE"
        ];
        for (uint256 i = 0; i < 7; ++i) {
            if (keccak256(bytes(names[i])) == role) return names[i];
        }
        return names[7];
    }

    function assertFindings() private {
        assertEq(script.check(nodeVm(), checked).lines, expected);
    }
}
