// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ReferenceTree} from "./support/ReferenceTree.sol";
import {SignedRegistryTest} from "./support/SignedRegistryTest.sol";
import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {Batch, IJobRegistry, Word} from "contracts/interfaces/IJobRegistry.sol";

contract ConfirmBatchWithSignaturesTest is SignedRegistryTest {
    uint256 private constant CURVE_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    Word[] private words;
    address[] private two;
    bytes[] private signed;

    function setUp() public override {
        super.setUp();
        words.push(opaqueWord(CRITICAL, 7));
        words.push(opaqueWord(CRITICAL | LAST_INDEX, 1 << 255));
        two = signers(2);
        signed = signatures(words, two);
    }

    function test_RevertWhen_Paused() public {
        vm.prank(PAUSER);
        registry.pause();
        expectRefused(abi.encodeWithSelector(Pausable.EnforcedPause.selector));
    }

    function test_RevertWhen_TheDeadlineHasPassed() public {
        vm.warp(deadline + 1);
        expectRefused(abi.encodeWithSelector(IJobRegistry.DeadlinePassed.selector, deadline));
    }

    function test_ConfirmsInTheSecondOfTheDeadline() public {
        vm.warp(deadline);
        confirmThem();
    }

    function test_RevertWhen_SignersAreFewerThanTheQuorum() public {
        two.pop();
        signed.pop();
        expectRefused(abi.encodeWithSelector(IJobRegistry.QuorumNotReached.selector, LANE, 1, QUORUM));
        two.pop();
        signed.pop();
        expectRefused(abi.encodeWithSelector(IJobRegistry.QuorumNotReached.selector, LANE, 0, QUORUM));
    }

    function test_RevertWhen_TheStandardLaneHasNoSigner() public {
        Word[] memory standard = only(opaqueWord(1, 1));
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.QuorumNotReached.selector, 0, 0, 1));
        registry.confirmBatchWithSignatures(standard, deadline, new address[](0), new bytes[](0));
    }

    /// @dev What one confirmer signed for the standard lane reaches no critical ticket.
    function test_RevertWhen_FirstAndLastWordLieInDifferentLanes() public {
        words[0].index = 1;
        signed = signatures(words, two);
        expectRefused(abi.encodeWithSelector(IJobRegistry.LanesDiffer.selector, 0, LANE));
    }

    function test_RevertWhen_TheLaneIsClosed() public {
        setQuorum(LANE, 0);
        expectRefused(abi.encodeWithSelector(IJobRegistry.LaneClosed.selector, LANE));
    }

    function testFuzz_RevertWhen_TheLaneIsNone(uint64 lane) public {
        lane = uint64(bound(lane, 32, type(uint16).max));
        (words[0].index, words[1].index) = (lane << 48, (lane << 48) | 1);
        signed = signatures(words, two);
        expectRefused(abi.encodeWithSelector(IJobRegistry.LaneClosed.selector, lane));
    }

    function test_RevertWhen_WordsAreNotOneTo512() public {
        delete words;
        expectRefused(abi.encodeWithSelector(IJobRegistry.WordCountOutOfRange.selector, 0, 512));

        Word[] memory many = opaqueWords(CRITICAL, 513, 1);
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.WordCountOutOfRange.selector, 513, 512));
        registry.confirmBatchWithSignatures(many, deadline, two, signed);
    }

    function test_RevertWhen_WordsAreMalformed() public {
        Word memory first = words[0];
        words[0] = words[1];
        expectRefused(
            abi.encodeWithSelector(IJobRegistry.WordsNotAscending.selector, words[1].index, words[1].index)
        );
        words[0] = first;
        words[0].mask = 0;
        expectRefused(abi.encodeWithSelector(IJobRegistry.EmptyMask.selector, CRITICAL));
        words[0].mask = 1;
        words[0].root = 0;
        expectRefused(abi.encodeWithSelector(IJobRegistry.EmptyRoot.selector, CRITICAL));
    }

    function test_RevertWhen_TicketsAreSpent() public {
        confirmSigned(only(opaqueWord(CRITICAL | LAST_INDEX, DENSE)), 2);
        expectRefused(
            abi.encodeWithSelector(
                IJobRegistry.AlreadyConfirmed.selector, CRITICAL | LAST_INDEX, uint256(1 << 255)
            )
        );
        (uint256 neighbour,) = registry.word(CRITICAL);
        assertEq(neighbour, 0, "a refused batch spends nothing");
    }

    /// @dev The spent bits are the nonce.
    function test_RevertWhen_TheSameSignaturesComeAgain() public {
        confirmThem();
        expectRefused(abi.encodeWithSelector(IJobRegistry.AlreadyConfirmed.selector, CRITICAL, 7));
    }

    function test_RevertWhen_SignaturesAreMoreOrFewerThanSigners() public {
        signed.push(signed[0]);
        expectRefused(abi.encodeWithSelector(IJobRegistry.SignatureCountMismatch.selector, 2, 3));
        signed.pop();
        signed.pop();
        expectRefused(abi.encodeWithSelector(IJobRegistry.SignatureCountMismatch.selector, 2, 1));
    }

    function test_RevertWhen_SignersAreMoreThan255() public {
        address[] memory many = new address[](256);
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.TooManySigners.selector, 256, 255));
        registry.confirmBatchWithSignatures(words, deadline, many, new bytes[](256));
    }

    function test_RevertWhen_ASignerComesTwice() public {
        (two[1], signed[1]) = (two[0], signed[0]);
        expectRefused(abi.encodeWithSelector(IJobRegistry.SignersNotAscending.selector, two[0], two[0]));
    }

    function test_RevertWhen_SignersAreNotAscending() public {
        (two[0], two[1]) = (two[1], two[0]);
        signed = signatures(words, two);
        expectRefused(abi.encodeWithSelector(IJobRegistry.SignersNotAscending.selector, two[0], two[1]));
    }

    /// @dev `ecrecover` answers zero for what is no signature.
    function test_RevertWhen_ASignerIsZero() public {
        two[0] = address(0);
        signed[0] = new bytes(65);
        expectRefused(
            abi.encodeWithSelector(IJobRegistry.SignersNotAscending.selector, address(0), address(0))
        );
    }

    function test_RevertWhen_ASignerIsNoConfirmer() public {
        bytes32 role = registry.CONFIRMER_ROLE();
        vm.prank(ADMIN);
        registry.revokeRole(role, two[1]);
        expectRefused(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, two[1], role)
        );
    }

    function test_RevertWhen_OneOfMoreSignersThanTheQuorumIsNoConfirmer() public {
        bytes32 role = registry.CONFIRMER_ROLE();
        two = signers(3);
        signed = signatures(words, two);
        vm.prank(ADMIN);
        registry.revokeRole(role, two[2]);
        expectRefused(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, two[2], role)
        );
    }

    function testFuzz_RevertWhen_ASignatureIsAltered(uint256 at, uint8 flip) public {
        at = bound(at, 0, 64);
        signed[1][at] ^= bytes1(uint8(bound(flip, 1, 255)));
        expectInvalid(two[1]);
    }

    function test_RevertWhen_ASignatureIsAnotherSigners() public {
        signed[0] = signed[1];
        expectInvalid(two[0]);
    }

    function testFuzz_RevertWhen_ASignatureHasAnotherLength(bytes calldata signature) public {
        vm.assume(signature.length != 65);
        signed[0] = signature;
        expectInvalid(two[0]);
    }

    /// @dev Each ECDSA signature has a twin with the other s, which is refused.
    function test_RevertWhen_ASignatureIsMalleated() public {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf[two[0]], digestOf(words));
        signed[0] = bytes.concat(r, bytes32(CURVE_ORDER - uint256(s)), bytes1(v == 27 ? 28 : 27));
        expectInvalid(two[0]);
    }

    function test_RevertWhen_ASignatureIsForAnotherDeadline() public {
        deadline += 1;
        expectInvalid(two[0]);
    }

    function test_RevertWhen_ASignatureIsForAnotherBatch() public {
        words[1].mask = 1 << 254;
        expectInvalid(two[0]);
    }

    function test_RevertWhen_ASignatureIsForAnotherRegistry() public {
        JobRegistry other = JobRegistry(address(new ERC1967Proxy(address(implementation), initialization())));
        resign(approvalOf(ReferenceTree.batchRoot(words), deadline, block.chainid, address(other)));
        expectInvalid(two[0]);
    }

    function test_RevertWhen_ASignatureIsForTheImplementation() public {
        resign(approvalOf(ReferenceTree.batchRoot(words), deadline, block.chainid, address(implementation)));
        expectInvalid(two[0]);
    }

    function test_RevertWhen_ASignatureIsForAnotherChain() public {
        vm.chainId(block.chainid + 1);
        expectInvalid(two[0]);
    }

    /// @dev A job's leaf is a digest of the same domain, and approves nothing.
    function test_RevertWhen_TheSignatureIsOverALeaf() public {
        resign(registry.leafOf(jobOf(ticketAt(CRITICAL, 0))));
        expectInvalid(two[0]);
    }

    function test_RevertWhen_TheSignatureIsOverTheBareRoot() public {
        resign(ReferenceTree.batchRoot(words));
        expectInvalid(two[0]);
    }

    function test_SpendsTheTicketsAndKeepsTheBatch() public {
        bytes32 root = confirmThem();
        assertEq(root, ReferenceTree.batchRoot(words));
        (uint256 first,) = registry.word(CRITICAL);
        (uint256 last,) = registry.word(CRITICAL | LAST_INDEX);
        assertEq(first, 7);
        assertEq(last, 1 << 255);

        Batch memory batch = registry.batch(root);
        assertEq(batch.submitter, ANYONE);
        assertEq(batch.confirmedAt, block.timestamp);
        assertEq(batch.jobs, 4);
        assertEq(batch.approvals, 2);
        assertEq(batch.format, 1);
    }

    function test_EmitsBatchConfirmed() public {
        vm.expectEmit(address(registry));
        emit IJobRegistry.BatchConfirmed(ReferenceTree.batchRoot(words), ANYONE, LANE, 4, 2, words);
        confirmThem();
    }

    function test_CountsEverySignerBeyondTheQuorum() public {
        vm.expectEmit(address(registry));
        emit IJobRegistry.BatchConfirmed(ReferenceTree.batchRoot(words), ANYONE, LANE, 4, 3, words);
        bytes32 root = confirmSigned(words, 3);
        assertEq(registry.batch(root).approvals, 3);
    }

    function test_ConfirmsInTheStandardLaneForAnyone() public {
        Word[] memory standard = only(opaqueWord(1, 1));
        bytes32 root = confirmSigned(standard, 1);
        assertEq(registry.batch(root).submitter, ANYONE);
        assertTrue(registry.isConfirmed(ticketAt(1, 0)));
    }

    function test_ConfirmsInAnyOrderOfSigning() public {
        Word[] memory later = only(opaqueWord(CRITICAL | 9, 1));
        address[] memory accounts = signers(2);
        bytes[] memory ofLater = signatures(later, accounts);
        bytes[] memory ofWords = signatures(words, accounts);
        registry.confirmBatchWithSignatures(later, deadline, accounts, ofLater);
        registry.confirmBatchWithSignatures(words, deadline, accounts, ofWords);
        assertTrue(registry.isConfirmed(ticketAt(CRITICAL | 9, 0)));
        assertTrue(registry.isConfirmed(ticketAt(CRITICAL, 0)));
    }

    /// @dev Quorum and signers up to what a byte holds.
    function test_ConfirmsWith255Signers() public {
        for (uint256 i = allSigners.length; i < 255; ++i) {
            (address account, uint256 key) = makeAddrAndKey(vm.toString(i));
            addSigner(account);
            keyOf[account] = key;
        }
        setQuorum(LANE, 255);
        bytes32 root = confirmSigned(words, 255);
        assertEq(registry.batch(root).approvals, 255);
    }

    function testFuzz_ApprovalDigestIsTheTypedDataDigest(bytes32 root, uint256 until, uint64 chainId) public {
        vm.assume(chainId != 0);
        vm.chainId(chainId);
        assertEq(registry.approvalDigest(root, until), approvalOf(root, until, chainId, address(registry)));
    }

    function confirmThem() private returns (bytes32) {
        vm.prank(ANYONE);
        return registry.confirmBatchWithSignatures(words, deadline, two, signed);
    }

    function resign(bytes32 digest) private {
        for (uint256 i = 0; i < two.length; ++i) {
            signed[i] = sign(two[i], digest);
        }
    }

    function expectInvalid(address signer) private {
        expectRefused(abi.encodeWithSelector(IJobRegistry.InvalidSignature.selector, signer));
        (uint256 spent,) = registry.word(CRITICAL);
        assertEq(spent, 0, "a refused batch spends nothing");
    }

    function expectRefused(bytes memory refusal) private {
        vm.prank(ANYONE);
        vm.expectRevert(refusal);
        registry.confirmBatchWithSignatures(words, deadline, two, signed);
    }
}
