// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ReferenceTree} from "./ReferenceTree.sol";
import {RegistryTest} from "./RegistryTest.sol";
import {Word} from "contracts/interfaces/IJobRegistry.sol";

/// @title A registry with confirmers who sign
/// @notice Three of them, in ascending order of their addresses, and a critical lane that wants two.
abstract contract SignedRegistryTest is RegistryTest {
    uint8 internal constant LANE = 7;
    uint64 internal constant CRITICAL = uint64(LANE) << 48;
    uint8 internal constant QUORUM = 2;

    uint256 internal deadline;
    address[] internal allSigners;
    mapping(address signer => uint256 key) internal keyOf;

    function setUp() public virtual override {
        super.setUp();
        deadline = block.timestamp + 1 hours;
        string[3] memory names = ["signer a", "signer b", "signer c"];
        for (uint256 i = 0; i < names.length; ++i) {
            (address account, uint256 key) = makeAddrAndKey(names[i]);
            addSigner(account);
            keyOf[account] = key;
        }
        setQuorum(LANE, QUORUM);
    }

    /// @dev Makes `account` a confirmer, at its place in the order of the signers.
    function addSigner(address account) internal {
        vm.startPrank(ADMIN);
        registry.grantRole(registry.CONFIRMER_ROLE(), account);
        vm.stopPrank();
        allSigners.push(account);
        for (uint256 i = allSigners.length - 1; i > 0 && allSigners[i - 1] > allSigners[i]; --i) {
            (allSigners[i - 1], allSigners[i]) = (allSigners[i], allSigners[i - 1]);
        }
    }

    /// @dev The first `count` signers.
    function signers(uint256 count) internal view returns (address[] memory accounts) {
        accounts = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            accounts[i] = allSigners[i];
        }
    }

    /// @dev The digest that approves `words` until `deadline`, worked out from EIP-712 without the registry.
    function digestOf(Word[] memory words) internal view returns (bytes32) {
        return approvalOf(ReferenceTree.batchRoot(words), deadline, block.chainid, address(registry));
    }

    function approvalOf(bytes32 root, uint256 until, uint256 chainId, address verifyingContract)
        internal
        pure
        returns (bytes32)
    {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("JobRegistry"),
                keccak256("1"),
                chainId,
                verifyingContract
            )
        );
        bytes32 approval =
            keccak256(abi.encode(keccak256("ConfirmBatch(bytes32 root,uint256 deadline)"), root, until));
        return keccak256(bytes.concat(hex"1901", domain, approval));
    }

    function sign(address signer, bytes32 digest) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf[signer], digest);
        return bytes.concat(r, s, bytes1(v));
    }

    function signatures(Word[] memory words, address[] memory accounts)
        internal
        view
        returns (bytes[] memory signed)
    {
        bytes32 digest = digestOf(words);
        signed = new bytes[](accounts.length);
        for (uint256 i = 0; i < accounts.length; ++i) {
            signed[i] = sign(accounts[i], digest);
        }
    }

    /// @dev Confirms with the first `count` signers' signatures; sent by anyone.
    function confirmSigned(Word[] memory words, uint256 count) internal returns (bytes32 root) {
        address[] memory accounts = signers(count);
        bytes[] memory signed = signatures(words, accounts);
        vm.prank(ANYONE);
        return registry.confirmBatchWithSignatures(words, deadline, accounts, signed);
    }
}
