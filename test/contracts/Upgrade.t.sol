// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {JobRegistryV2} from "./support/JobRegistryV2.sol";
import {SuccessorTest} from "./support/SuccessorTest.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts-upgradeable/proxy/utils/UUPSUpgradeable.sol";
import {IERC1967} from "@openzeppelin/contracts/interfaces/IERC1967.sol";
import {IERC1822Proxiable} from "@openzeppelin/contracts/interfaces/draft-IERC1822.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {SlotDerivation} from "@openzeppelin/contracts/utils/SlotDerivation.sol";
import {IJobRegistry, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @dev An implementation for proxies that keep its address in another slot.
contract OtherSlot is IERC1822Proxiable {
    bytes32 public constant proxiableUUID = keccak256("elsewhere");
}

/// @dev A registry in the middle of its life is upgraded, and asked again whatever it had been asked before.
contract UpgradeTest is SuccessorTest {
    struct Step {
        uint8 kind;
        uint8 word;
        uint8 jobs;
    }

    uint64 private constant FIRST = 1000;
    uint64 private constant SOLO_LANE = 1 << 48;
    uint64 private constant CLOSED_LANE = 3 << 48;
    uint256 private constant MASK = 0x15 | (1 << 255);
    uint256 private constant REVOKED = 4;

    address private immutable NEW_ADMIN = makeAddr("new admin");

    function setUp() public override {
        super.setUp();
        setQuorum(1, 1);
        setQuorum(3, 1);
        setQuorum(31, 255);
        confirmAlone(wordsOf(0, 1, 1));
        confirmAlone(wordsOf(FIRST, 3, MASK));
        confirmAlone(wordsOf(FIRST + 1, 2, MASK << 1));
        confirmAlone(wordsOf(LAST_INDEX, 1, MASK));
        confirmAlone(wordsOf(SOLO_LANE, 2, MASK));
        confirmAlone(wordsOf(CLOSED_LANE, 1, MASK));
        confirmTogether(wordsOf(CRITICAL, 2, MASK));
        confirmTogether(wordsOf(CRITICAL + 1, 1, MASK << 1));
        revoke(FIRST, REVOKED);
        revoke(CRITICAL, REVOKED);
        setQuorum(3, 0);
        changeHands();
        raiseWhatEveryRegistryRaises();
    }

    function test_ReceiptsVerifyUnlessRevoked() public {
        upgrade();
        uint256 revoked;
        for (uint256 i = 0; i < receipts.length; ++i) {
            bool isRevoked =
                receipts[i].ticket == ticketAt(FIRST, 2) || receipts[i].ticket == ticketAt(CRITICAL, 2);
            assertEq(verifies(receipts[i]), !isRevoked);
            if (isRevoked) ++revoked;
        }
        assertEq(receipts.length, 46);
        assertEq(revoked, 2);
    }

    function test_EveryAnswerStays() public {
        bytes[] memory before = answers();
        upgrade();
        assertSameAnswers(before);
    }

    function test_EveryAnswerStaysWhilePaused() public {
        vm.prank(PAUSER);
        registry.pause();
        bytes[] memory before = answers();
        upgrade();
        assertSameAnswers(before);
        assertTrue(registry.paused());
    }

    /// forge-config: default.fuzz.runs = 64
    function testFuzz_EveryAnswerStaysAfterAnyHistory(Step[8] calldata steps) public {
        for (uint256 i = 0; i < steps.length; ++i) {
            take(steps[i]);
        }
        bytes[] memory before = answers();
        upgrade();
        assertSameAnswers(before);
    }

    function test_SpentTicketsAreRefused() public {
        upgrade();
        setQuorum(3, 1);
        for (uint256 i = 0; i < confirmations.length; ++i) {
            (bool success, bytes memory refusal) = ask(confirmations[i].call);
            assertFalse(success);
            Word memory first = confirmations[i].first;
            assertEq(refusal, alreadyConfirmed(first.index, first.mask));
        }
        vm.expectRevert(alreadyConfirmed(FIRST, 0x11));
        confirm(only(opaqueWord(FIRST, 0xfb)));
    }

    function test_WritesNothingThatWasThere() public {
        vm.record();
        upgrade();
        (, bytes32[] memory writes) = vm.accesses(address(registry));
        bytes32 initialized = SlotDerivation.erc7201Slot("openzeppelin.storage.Initializable");
        bytes32 added = SlotDerivation.erc7201Slot("jobseal.storage.JobRegistryV2");
        for (uint256 i = 0; i < writes.length; ++i) {
            bytes32 slot = writes[i];
            assertTrue(slot == ERC1967Utils.IMPLEMENTATION_SLOT || slot == initialized || slot == added);
        }
        assertEq(uint256(vm.load(address(registry), added)), MAX_WORDS);
    }

    function test_EmitsUpgradedAndChangesTheVersion() public {
        vm.expectEmit(address(registry));
        emit IERC1967.Upgraded(address(next));
        upgrade();
        assertEq(implementationOf(address(registry)), address(next));
        assertEq(registry.version(), "2.0.0");
    }

    function test_SignaturesFromBeforeStillConfirm() public {
        bytes memory confirmation = signed(wordsOf(CRITICAL + 9, 1, MASK));
        upgrade();
        (bool success, bytes memory root) = address(registry).call(confirmation);
        assertTrue(success);
        assertEq(registry.batch(abi.decode(root, (bytes32))).format, 1);
    }

    function test_FormatOneIsConfirmedAndVerifiedAsBefore() public {
        upgrade();
        Word[] memory words = wordsOf(FIRST, 2, 0xc0);
        confirm(words);
        assertTrue(registry.verify(jobOf(ticketAt(FIRST + 1, 6)), proofOf(words, 1, 6)));
    }

    function test_ThePendingAdminAccepts() public {
        (, uint48 schedule) = registry.pendingDefaultAdmin();
        upgrade();
        vm.warp(schedule + 1);
        vm.prank(NEW_ADMIN);
        registry.acceptDefaultAdminTransfer();
        assertEq(registry.defaultAdmin(), NEW_ADMIN);
    }

    function test_ADowngradeKeepsEveryAnswer() public {
        bytes[] memory before = answers();
        upgrade();
        downgrade();
        assertUntouched(before);
    }

    function test_RevertWhen_TheMigrationReverts() public {
        expectRefused(address(next), migration(0), abi.encodeWithSelector(JobRegistryV2.NoWords.selector));
        upgrade();
    }

    function test_RevertWhen_TheTargetHasNoCode() public {
        expectRefused(ANYONE, "", "");
    }

    function test_RevertWhen_TheTargetIsNotUups() public {
        address target = address(this);
        expectRefused(
            target, "", abi.encodeWithSelector(ERC1967Utils.ERC1967InvalidImplementation.selector, target)
        );
    }

    /// @dev Asked through itself, an implementation refuses to name its slot: a proxy of a proxy would call itself
    /// for ever.
    function test_RevertWhen_TheTargetIsAProxy() public {
        address target = address(registry);
        expectRefused(
            target, "", abi.encodeWithSelector(ERC1967Utils.ERC1967InvalidImplementation.selector, target)
        );
    }

    function test_RevertWhen_TheTargetIsForAnotherSlot() public {
        OtherSlot target = new OtherSlot();
        expectRefused(
            address(target),
            "",
            abi.encodeWithSelector(
                UUPSUpgradeable.UUPSUnsupportedProxiableUUID.selector, target.proxiableUUID()
            )
        );
    }

    /// @dev A confirmer went, another came, and the admin and the admin's delay are about to change.
    function changeHands() private {
        bytes32 role = registry.CONFIRMER_ROLE();
        vm.startPrank(ADMIN);
        registry.revokeRole(role, OTHER_CONFIRMER);
        registry.grantRole(role, ANYONE);
        registry.beginDefaultAdminTransfer(NEW_ADMIN);
        registry.changeDefaultAdminDelay(2 days);
        vm.stopPrank();
    }

    function raiseWhatEveryRegistryRaises() private {
        for (uint8 lane = 0; lane < 40; ++lane) {
            raise(abi.encodeCall(registry.quorum, (lane)));
        }
        bytes32[5] memory roles = [
            bytes32(0),
            registry.UPGRADER_ROLE(),
            registry.REVOKER_ROLE(),
            registry.PAUSER_ROLE(),
            registry.CONFIRMER_ROLE()
        ];
        address[8] memory accounts =
            [ADMIN, NEW_ADMIN, UPGRADER, REVOKER, PAUSER, CONFIRMER, OTHER_CONFIRMER, ANYONE];
        for (uint256 i = 0; i < roles.length; ++i) {
            raise(abi.encodeCall(registry.getRoleAdmin, (roles[i])));
            for (uint256 j = 0; j < accounts.length; ++j) {
                raise(abi.encodeCall(registry.hasRole, (roles[i], accounts[j])));
            }
        }
        raise(abi.encodeCall(registry.owner, ()));
        raise(abi.encodeCall(registry.defaultAdmin, ()));
        raise(abi.encodeCall(registry.pendingDefaultAdmin, ()));
        raise(abi.encodeCall(registry.defaultAdminDelay, ()));
        raise(abi.encodeCall(registry.pendingDefaultAdminDelay, ()));
        raise(abi.encodeCall(registry.paused, ()));
        raise(abi.encodeCall(registry.eip712Domain, ()));
        raise(abi.encodeCall(registry.leafOf, (jobOf(7))));
        raise(abi.encodeCall(registry.approvalDigest, (keccak256("root"), deadline)));
        raise(abi.encodeCall(registry.supportsInterface, (type(IJobRegistry).interfaceId)));
    }

    /// @dev In one of eight neighbouring words of three lanes: confirms what is not spent, or revokes what is.
    function take(Step calldata step) private {
        uint64[3] memory lanes = [FIRST, SOLO_LANE, CRITICAL];
        uint256 lane = step.kind % 3;
        uint64 index = lanes[lane] + step.word % 8;
        (uint256 spent,) = registry.word(index);
        uint256 unspent = step.jobs & ~spent;
        if (step.kind >= 192) {
            if (step.jobs & spent != 0) revoke(index, step.jobs & spent);
        } else if (unspent != 0) {
            Word[] memory words = wordsOf(index, 1, unspent);
            if (lanes[lane] == CRITICAL) confirmTogether(words);
            else confirmAlone(words);
        }
    }

    function alreadyConfirmed(uint64 index, uint256 overlap) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IJobRegistry.AlreadyConfirmed.selector, index, overlap);
    }

    function expectRefused(address target, bytes memory call, bytes memory refusal) private {
        bytes[] memory before = answers();
        vm.prank(UPGRADER);
        vm.expectRevert(refusal);
        registry.upgradeToAndCall(target, call);
        assertUntouched(before);
    }

    function assertUntouched(bytes[] memory before) private {
        assertEq(implementationOf(address(registry)), address(implementation));
        assertSameAnswers(before);
    }
}
