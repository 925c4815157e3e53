// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ReferenceTree} from "./support/ReferenceTree.sol";
import {SignedRegistryTest} from "./support/SignedRegistryTest.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {Safe} from "@safe-global/safe-contracts/Safe.sol";
import {
    CompatibilityFallbackHandler
} from "@safe-global/safe-contracts/handler/CompatibilityFallbackHandler.sol";
import {SafeProxyFactory} from "@safe-global/safe-contracts/proxies/SafeProxyFactory.sol";
import {IJobRegistry, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @dev Answers whatever it was made to answer.
contract Answering is IERC1271 {
    bytes private _answer;
    bool private _reverts;

    constructor(bytes memory answer, bool reverts) {
        (_answer, _reverts) = (answer, reverts);
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        bytes memory answer = _answer;
        bool reverts = _reverts;
        assembly ("memory-safe") {
            if reverts { revert(add(answer, 0x20), mload(answer)) }
            return(add(answer, 0x20), mload(answer))
        }
    }
}

/// @dev Looks at the registry while it is being asked, which it can, and writes to it, which it cannot.
contract Meddling {
    IJobRegistry private immutable REGISTRY;

    constructor(IJobRegistry registry) {
        REGISTRY = registry;
    }

    function isValidSignature(bytes32, bytes calldata call) external returns (bytes4) {
        (bool success,) = address(REGISTRY).call(call);
        return success ? IERC1271.isValidSignature.selector : bytes4(0);
    }
}

/// @dev Burns all the gas that it is given.
contract Burning {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        assembly ("memory-safe") {
            invalid()
        }
    }
}

/// @dev Approves, in an answer of 2 MiB.
contract Longwinded {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        bytes4 magic = IERC1271.isValidSignature.selector;
        assembly {
            mstore(0, magic)
            return(0, 0x200000)
        }
    }
}

/// @dev A Safe that two of three owners sign for, beside a key of its own, makes the quorum.
contract ContractSignersTest is SignedRegistryTest {
    Safe private safe;
    address[] private owners;
    Word[] private words;

    function setUp() public override {
        super.setUp();
        words.push(opaqueWord(CRITICAL, 7));
        for (uint256 i = 0; i < 3; ++i) {
            (address owner, uint256 key) = makeAddrAndKey(string.concat("owner ", vm.toString(i)));
            keyOf[owner] = key;
            owners.push(owner);
            for (uint256 j = i; j > 0 && owners[j - 1] > owners[j]; --j) {
                (owners[j - 1], owners[j]) = (owners[j], owners[j - 1]);
            }
        }
        address handler = address(new CompatibilityFallbackHandler());
        bytes memory setUpSafe = abi.encodeCall(
            Safe.setup, (owners, 2, address(0), "", handler, address(0), 0, payable(address(0)))
        );
        SafeProxyFactory factory = new SafeProxyFactory();
        safe = Safe(payable(address(factory.createProxyWithNonce(address(new Safe()), setUpSafe, 0))));
        delete allSigners;
        addSigner(address(safe));
    }

    function test_ASafeSigns() public {
        addSigner(withKey("signer"));
        bytes32 root = confirmWith(bySafe(owners[0], owners[2]));
        assertEq(registry.batch(root).approvals, 2);
    }

    function test_RevertWhen_TheSafesOwnersAreTooFew() public {
        addSigner(withKey("signer"));
        bytes memory alone = sign(owners[1], safeDigest());
        expectInvalid(address(safe), alone);
    }

    function test_RevertWhen_TheSafesOwnersSignedAnotherBatch() public {
        addSigner(withKey("signer"));
        bytes memory signed = bySafe(owners[0], owners[1]);
        words[0].mask = 8;
        expectInvalid(address(safe), signed);
    }

    /// @dev An owner's approval of the batch is not the Safe's: the Safe signs its own digest of it.
    function test_RevertWhen_TheOwnersSignedTheBatchAndNotTheSafesMessage() public {
        addSigner(withKey("signer"));
        bytes32 digest = digestOf(words);
        expectInvalid(address(safe), bytes.concat(sign(owners[0], digest), sign(owners[1], digest)));
    }

    function test_RevertWhen_AContractDoesNotAnswerWithTheMagicValue() public {
        bytes[4] memory answers = [
            abi.encode(bytes4(0)),
            abi.encode(bytes4(0xffffffff)),
            abi.encodePacked(IERC1271.isValidSignature.selector),
            bytes("")
        ];
        for (uint256 i = 0; i < answers.length; ++i) {
            address refusing = address(new Answering(answers[i], false));
            addSigner(refusing);
            expectInvalid(refusing, "");
            removeSigner(refusing);
        }
    }

    function test_RevertWhen_AContractReverts() public {
        address refusing = address(new Answering(abi.encode(IERC1271.isValidSignature.selector), true));
        addSigner(refusing);
        expectInvalid(refusing, "");
    }

    function test_RevertWhen_AContractIsNoSigner() public {
        addSigner(address(this));
        expectInvalid(address(this), "");
    }

    function test_TheMagicValueApproves() public {
        addSigner(address(new Answering(abi.encode(IERC1271.isValidSignature.selector), false)));
        confirmWith("");
        assertTrue(registry.isConfirmed(ticketAt(CRITICAL, 0)));
    }

    function test_RevertWhen_AContractWritesToTheRegistryWhenAsked() public {
        address meddling = address(new Meddling(registry));
        addSigner(meddling);
        expectInvalid(meddling, abi.encodeCall(registry.confirmBatch, (opaqueWords(9, 1, 1))));
        expectInvalid(meddling, abi.encodeCall(registry.renounceRole, (registry.CONFIRMER_ROLE(), meddling)));
        confirmWith(abi.encodeCall(registry.isConfirmed, (1)));
    }

    function test_ASignerThatBurnsAllGasKeepsNothingButTheBatch() public {
        expectToLandOnlyWithout(address(new Burning()));
    }

    function test_ASignerThatAnswersAtLengthKeepsNothingButTheBatch() public {
        Longwinded longwinded = new Longwinded();
        assertEq(longwinded.isValidSignature(0, ""), IERC1271.isValidSignature.selector);
        expectToLandOnlyWithout(address(longwinded));
    }

    /// @dev All the gas that a transaction can have is not enough; without that signer the batch lands.
    function expectToLandOnlyWithout(address hostile) private {
        addSigner(withKey("signer"));
        address[] memory others = allSigners;
        addSigner(hostile);
        bytes[] memory signed = new bytes[](3);
        for (uint256 i = 0; i < 3; ++i) {
            if (allSigners[i] == address(safe)) signed[i] = bySafe(owners[0], owners[1]);
            else if (allSigners[i] != hostile) signed[i] = sign(allSigners[i], digestOf(words));
        }
        bytes memory call =
            abi.encodeCall(registry.confirmBatchWithSignatures, (words, deadline, allSigners, signed));
        (bool success,) = address(registry).call{gas: 2 ** 24}(call);
        assertFalse(success);
        assertFalse(registry.isConfirmed(ticketAt(CRITICAL, 0)));
        assertEq(registry.batch(ReferenceTree.batchRoot(words)).format, 0);

        allSigners = others;
        assertEq(registry.batch(confirmWith(bySafe(owners[0], owners[1]))).approvals, 2);
        assertTrue(registry.isConfirmed(ticketAt(CRITICAL, 0)));
    }

    function withKey(string memory name) private returns (address account) {
        uint256 key;
        (account, key) = makeAddrAndKey(name);
        keyOf[account] = key;
    }

    function removeSigner(address account) private {
        bytes32 role = registry.CONFIRMER_ROLE();
        vm.prank(ADMIN);
        registry.revokeRole(role, account);
        delete allSigners;
        allSigners.push(address(safe));
    }

    /// @dev What the Safe's owners sign: its EIP-712 message that wraps the registry's digest.
    function safeDigest() private view returns (bytes32) {
        CompatibilityFallbackHandler handler = CompatibilityFallbackHandler(address(safe));
        return handler.getMessageHash(abi.encode(digestOf(words)));
    }

    function bySafe(address first, address second) private view returns (bytes memory) {
        bytes32 digest = safeDigest();
        return bytes.concat(sign(first, digest), sign(second, digest));
    }

    /// @dev Both signers sign: a key by itself, the Safe or its stand-in with `signature`.
    function signaturesWith(address by, bytes memory signature) private view returns (bytes[] memory signed) {
        signed = new bytes[](2);
        for (uint256 i = 0; i < 2; ++i) {
            if (allSigners[i] == by) signed[i] = signature;
            else if (allSigners[i] == address(safe)) signed[i] = bySafe(owners[0], owners[1]);
            else signed[i] = sign(allSigners[i], digestOf(words));
        }
    }

    function confirmWith(bytes memory signature) private returns (bytes32) {
        address other = allSigners[0] == address(safe) ? allSigners[1] : allSigners[0];
        address by = keyOf[other] == 0 ? other : address(safe);
        bytes[] memory signed = signaturesWith(by, signature);
        vm.prank(ANYONE);
        return registry.confirmBatchWithSignatures(words, deadline, allSigners, signed);
    }

    function expectInvalid(address by, bytes memory signature) private {
        bytes[] memory signed = signaturesWith(by, signature);
        vm.prank(ANYONE);
        vm.expectRevert(abi.encodeWithSelector(IJobRegistry.InvalidSignature.selector, by));
        registry.confirmBatchWithSignatures(words, deadline, allSigners, signed);
    }
}
