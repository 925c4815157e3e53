// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {RegistryAgreement} from "./RegistryAgreement.sol";
import {RegistryHandler} from "./RegistryHandler.sol";
import {console} from "forge-std/console.sol";

/// @dev Plays campaigns as the invariants do, and counts the answers: no invariant holds for want of something to
/// happen. The counts are logged.
contract AnswersTest is RegistryAgreement {
    uint256 private constant CAMPAIGNS = 30;
    uint256 private constant CALLS = 100;

    string private constant CONFIRM = "confirmBatch((uint64,uint256,bytes32)[])";
    string private constant CONFIRM_SIGNED =
        "confirmBatchWithSignatures((uint64,uint256,bytes32)[],uint256,address[],bytes[])";
    string private constant REVOKE = "revoke((uint64,uint256)[],bytes32)";

    string private constant SUCCESS = "success";
    string private constant UNAUTHORIZED = "AccessControlUnauthorizedAccount(address,bytes32)";
    string private constant PAUSED = "EnforcedPause()";
    string private constant DELAYED = "AccessControlEnforcedDefaultAdminDelay(uint48)";

    RegistryHandler[] private handlers;

    /// @dev Every answer that the interface names, but `TooManySigners`, for which it takes 256.
    function test_CampaignsMeetEveryAnswer() public {
        vm.pauseGasMetering();
        for (uint256 campaign = 0; campaign < CAMPAIGNS; ++campaign) {
            play(campaign);
            assertAgreement();
        }
        assertConfirmingMetEveryAnswer();
        assertAdministrationMetEveryAnswer();
        assertRevokedWhilePaused();
    }

    function play(uint256 campaign) private {
        begin();
        handlers.push(handler);
        bytes4[] memory selectors = actions();
        for (uint256 i = 0; i < CALLS; ++i) {
            uint256 seed = uint256(keccak256(abi.encode(campaign, i)));
            (bool success,) =
                address(handler).call(abi.encodeWithSelector(selectors[seed % selectors.length], seed));
            assertTrue(success, "the registry does not answer as the model");
        }
    }

    function assertConfirmingMetEveryAnswer() private view {
        string[2] memory calls = [CONFIRM, CONFIRM_SIGNED];
        for (uint256 i = 0; i < calls.length; ++i) {
            assertMet(calls[i], SUCCESS);
            assertMet(calls[i], PAUSED);
            assertMet(calls[i], UNAUTHORIZED);
            assertMet(calls[i], "WordCountOutOfRange(uint256,uint256)");
            assertMet(calls[i], "LanesDiffer(uint64,uint64)");
            assertMet(calls[i], "LaneClosed(uint64)");
            assertMet(calls[i], "QuorumNotReached(uint8,uint256,uint8)");
            assertMet(calls[i], "WordsNotAscending(uint64,uint64)");
            assertMet(calls[i], "EmptyMask(uint64)");
            assertMet(calls[i], "EmptyRoot(uint64)");
            assertMet(calls[i], "AlreadyConfirmed(uint64,uint256)");
        }
        assertMet(CONFIRM_SIGNED, "DeadlinePassed(uint256)");
        assertMet(CONFIRM_SIGNED, "SignatureCountMismatch(uint256,uint256)");
        assertMet(CONFIRM_SIGNED, "SignersNotAscending(address,address)");
        assertMet(CONFIRM_SIGNED, "InvalidSignature(address)");
        assertMet(REVOKE, SUCCESS);
        assertMet(REVOKE, UNAUTHORIZED);
        assertMet(REVOKE, "WordCountOutOfRange(uint256,uint256)");
        assertMet(REVOKE, "EmptyMask(uint64)");
        assertMet(REVOKE, "NotConfirmed(uint64,uint256)");
    }

    function assertAdministrationMetEveryAnswer() private view {
        string[8] memory guarded = [
            "setQuorum(uint8,uint8)",
            "pause()",
            "unpause()",
            "grantRole(bytes32,address)",
            "revokeRole(bytes32,address)",
            "beginDefaultAdminTransfer(address)",
            "cancelDefaultAdminTransfer()",
            "upgradeToAndCall(address,bytes)"
        ];
        for (uint256 i = 0; i < guarded.length; ++i) {
            assertMet(guarded[i], SUCCESS);
            assertMet(guarded[i], UNAUTHORIZED);
        }
        assertMet("setQuorum(uint8,uint8)", "LaneWithoutQuorum(uint8)");
        assertMet("pause()", PAUSED);
        assertMet("unpause()", "ExpectedPause()");
        assertMet("grantRole(bytes32,address)", "AccessControlEnforcedDefaultAdminRules()");
        assertMet("revokeRole(bytes32,address)", "AccessControlEnforcedDefaultAdminRules()");
        assertMet("renounceRole(bytes32,address)", SUCCESS);
        assertMet("renounceRole(bytes32,address)", "AccessControlBadConfirmation()");
        assertMet("renounceRole(bytes32,address)", DELAYED);
        assertMet("acceptDefaultAdminTransfer()", SUCCESS);
        assertMet("acceptDefaultAdminTransfer()", "AccessControlInvalidDefaultAdmin(address)");
        assertMet("acceptDefaultAdminTransfer()", DELAYED);
    }

    function assertRevokedWhilePaused() private view {
        uint256 times;
        for (uint256 i = 0; i < handlers.length; ++i) {
            times += handlers[i].revocationsWhilePaused();
        }
        console.log(times, "revocations while paused");
        assertGt(times, 0);
    }

    function assertMet(string memory call, string memory answer) private view {
        bool isSuccess = keccak256(bytes(answer)) == keccak256(bytes(SUCCESS));
        uint256 times;
        for (uint256 i = 0; i < handlers.length; ++i) {
            times += handlers[i].outcomes(selectorOf(call), isSuccess ? bytes4(0) : selectorOf(answer));
        }
        console.log(times, call, answer);
        assertGt(times, 0, string.concat(call, " never met ", answer));
    }

    function selectorOf(string memory signature) private pure returns (bytes4) {
        return bytes4(keccak256(bytes(signature)));
    }
}
