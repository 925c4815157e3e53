// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {SignedRegistryTest} from "./support/SignedRegistryTest.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {Batch, IJobRegistry, Proof, Revocation, Word} from "contracts/interfaces/IJobRegistry.sol";

contract RevokeTest is SignedRegistryTest {
    uint64 private constant INDEX = 42;
    uint256 private constant MASK = 0xff;
    bytes32 private constant REASON = "wrong model version";

    Word[] private confirmed;

    function setUp() public override {
        super.setUp();
        confirmed.push(wordOf(INDEX, MASK));
        confirmed.push(wordOf(INDEX + 1, MASK));
        confirm(confirmed);
    }

    function test_RevertWhen_CallerIsNoRevoker() public {
        address[5] memory callers = [ADMIN, UPGRADER, PAUSER, CONFIRMER, ANYONE];
        bytes32 role = registry.REVOKER_ROLE();
        for (uint256 i = 0; i < callers.length; ++i) {
            vm.prank(callers[i]);
            vm.expectRevert(
                abi.encodeWithSelector(
                    IAccessControl.AccessControlUnauthorizedAccount.selector, callers[i], role
                )
            );
            registry.revoke(one(INDEX, 1), REASON);
        }
    }

    function test_RevertWhen_WordsAreNotOneTo512() public {
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.WordCountOutOfRange.selector, 0, 512));
        revoke(new Revocation[](0));
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.WordCountOutOfRange.selector, 513, 512));
        revoke(new Revocation[](513));
    }

    function test_RevertWhen_AMaskIsZero() public {
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.EmptyMask.selector, INDEX + 1));
        revoke(both(INDEX, 1, INDEX + 1, 0));
        assertFalse(registry.isRevoked(ticketAt(INDEX, 0)), "a refused call revokes nothing");
    }

    function testFuzz_RevertWhen_TicketsAreNotConfirmed(uint256 mask) public {
        vm.assume(mask & ~MASK != 0);
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.NotConfirmed.selector, INDEX + 1, mask & ~MASK));
        revoke(both(INDEX, 1, INDEX + 1, mask));
        assertFalse(registry.isRevoked(ticketAt(INDEX, 0)), "a refused call revokes nothing");
    }

    function testFuzz_RevertWhen_TheWordIsUntouched(uint64 index, uint256 mask) public {
        vm.assume(index != INDEX && index != INDEX + 1 && mask != 0);
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.NotConfirmed.selector, index, mask));
        revoke(one(index, mask));
    }

    function test_RevokesExactlyTheMask() public {
        uint256 mask = 0x81;
        revoke(one(INDEX, mask));

        (uint256 spent, uint256 revoked) = registry.word(INDEX);
        assertEq(spent, MASK, "the tickets stay spent");
        assertEq(revoked, mask);
        for (uint256 position = 0; position < 8; ++position) {
            uint64 ticket = ticketAt(INDEX, position);
            bool isRevoked = (mask >> position) & 1 == 1;
            assertEq(registry.isRevoked(ticket), isRevoked);
            assertEq(registry.isConfirmed(ticket), !isRevoked);
            assertEq(registry.verify(jobOf(ticket), proofOf(confirmed, 0, position)), !isRevoked);
        }
        assertFalse(registry.isRevoked(ticketAt(INDEX, 8)), "never confirmed");
        (, uint256 neighbour) = registry.word(INDEX + 1);
        assertEq(neighbour, 0);
    }

    function test_RevokesInSeveralWordsAndLanes() public {
        confirmSigned(only(opaqueWord(CRITICAL | LAST_INDEX, DENSE)), 2);
        revoke(both(CRITICAL | LAST_INDEX, DENSE, INDEX + 1, MASK));
        assertTrue(registry.isRevoked(ticketAt(CRITICAL | LAST_INDEX, 255)));
        assertTrue(registry.isRevoked(ticketAt(INDEX + 1, 0)));
        assertFalse(registry.isRevoked(ticketAt(INDEX, 0)));
    }

    function test_KeepsTheBatch() public {
        bytes32 root = confirm(only(opaqueWord(1, 1)));
        Batch memory before = registry.batch(root);
        revoke(one(1, 1));
        assertEq(keccak256(abi.encode(registry.batch(root))), keccak256(abi.encode(before)));
    }

    /// @dev A revoked ticket is spent for ever: the job can come again under another ticket only.
    function test_RevokedTicketsCannotBeConfirmedAgain() public {
        revoke(one(INDEX, 1));
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.AlreadyConfirmed.selector, INDEX, 1));
        confirm(only(opaqueWord(INDEX, 1)));
    }

    function test_NeighboursConfirmedLaterAreNotRevoked() public {
        revoke(one(INDEX, MASK));
        Word[] memory later = only(wordOf(INDEX, 1 << 8));
        confirm(later);
        assertTrue(registry.verify(jobOf(ticketAt(INDEX, 8)), proofOf(later, 0, 8)));
        assertTrue(registry.isConfirmed(ticketAt(INDEX, 8)));
    }

    function test_RevokingAgainAddsToWhatIsRevoked() public {
        revoke(one(INDEX, 3));
        revoke(one(INDEX, 6));
        (, uint256 revoked) = registry.word(INDEX);
        assertEq(revoked, 7);
    }

    function test_EmitsJobsRevoked() public {
        Revocation[] memory words = both(INDEX + 1, MASK, INDEX, 1);
        vm.expectEmit(address(registry));
        emit IJobRegistry.JobsRevoked(REVOKER, REASON, words);
        revoke(words);
    }

    function test_RevokesWhilePaused() public {
        vm.prank(PAUSER);
        registry.pause();
        revoke(one(INDEX, 1));
        assertTrue(registry.isRevoked(ticketAt(INDEX, 0)));
        assertFalse(registry.verify(jobOf(ticketAt(INDEX, 0)), proofOf(confirmed, 0, 0)));
    }

    function test_RevokesInALaneThatWasClosed() public {
        confirmSigned(only(opaqueWord(CRITICAL, 1)), 2);
        setQuorum(LANE, 0);
        revoke(one(CRITICAL, 1));
        assertTrue(registry.isRevoked(ticketAt(CRITICAL, 0)));
    }

    function revoke(Revocation[] memory words) private {
        vm.prank(REVOKER);
        registry.revoke(words, REASON);
    }

    function one(uint64 index, uint256 mask) private pure returns (Revocation[] memory words) {
        words = new Revocation[](1);
        words[0] = Revocation(index, mask);
    }

    function both(uint64 first, uint256 ofFirst, uint64 second, uint256 ofSecond)
        private
        pure
        returns (Revocation[] memory words)
    {
        words = new Revocation[](2);
        (words[0], words[1]) = (Revocation(first, ofFirst), Revocation(second, ofSecond));
    }
}
