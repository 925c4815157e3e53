// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {UUPSUpgradeable} from "@openzeppelin/contracts-upgradeable/proxy/utils/UUPSUpgradeable.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {Batch, Word} from "contracts/interfaces/IJobRegistry.sol";
import {Test} from "forge-std/Test.sol";

/// @dev What the prover offers beyond the cheatcodes of forge.
interface Prover {
    /// @notice A call of any function of the contract, of those that write, with any arguments.
    function createCalldata(string calldata contractName) external pure returns (bytes memory);
}

/// @title A registry in any state
/// @notice The bytecode of JobRegistry behind its proxy, over storage of which nothing is known but where the
/// implementation is. A property that one call keeps from here holds after any number of calls.
///
/// Arguments of a `check_` function stand for all their values. The lengths of arrays are bounded, in the head of each
/// check; keccak256 is any function without collisions, nor zero among its values.
abstract contract SymbolicRegistry is Test {
    Prover private constant PROVER = Prover(address(uint160(uint256(keccak256("svm cheat code")))));

    JobRegistry internal registry;

    function setUp() public {
        address implementation = address(new JobRegistry());
        registry = JobRegistry(address(new ERC1967Proxy(implementation, "")));
        vm.setArbitraryStorage(address(registry));
        vm.store(
            address(registry), ERC1967Utils.IMPLEMENTATION_SLOT, bytes32(uint256(uint160(implementation)))
        );
    }

    /// @dev An upgrade is left out: after it other code may stand behind the proxy.
    function anyCallButUpgrade() internal pure returns (bytes memory data) {
        data = PROVER.createCalldata("JobRegistry");
        vm.assume(bytes4(data) != UUPSUpgradeable.upgradeToAndCall.selector);
    }

    function send(address caller, bytes memory data) internal returns (bool success) {
        vm.prank(caller);
        (success,) = address(registry).call(data);
    }

    function isConfirming(bytes memory data) internal pure returns (bool) {
        return either(
            bytes4(data) == JobRegistry.confirmBatch.selector,
            bytes4(data) == JobRegistry.confirmBatchWithSignatures.selector
        );
    }

    function isKnown(bytes32 root) internal view returns (bool) {
        return registry.batch(root).format != 0;
    }

    /// @dev What is kept of a batch, as stored.
    function recordOf(bytes32 root) internal view returns (bytes32) {
        Batch memory batch = registry.batch(root);
        return bytes32(
            abi.encodePacked(batch.format, batch.approvals, batch.jobs, batch.confirmedAt, batch.submitter)
        );
    }

    function isSpent(Word memory word) internal view returns (bool) {
        (uint256 spent,) = registry.word(word.index);
        return word.mask & ~spent == 0;
    }

    /// @dev The root above `word`, by the definition of format 1.
    function batchRoot(Word memory word, bytes32[] memory siblings) internal pure returns (bytes32 node) {
        node = keccak256(bytes.concat(bytes32(uint256(word.index)), bytes32(word.mask), word.root));
        for (uint256 level = 0; level < siblings.length; ++level) {
            bytes32 sibling = siblings[level];
            node = keccak256(node < sibling ? bytes.concat(node, sibling) : bytes.concat(sibling, node));
        }
    }

    /// @dev The root above `leaf` at `position`, by the definition of format 1.
    function wordRoot(bytes32 leaf, uint256 position, bytes32[8] memory siblings)
        internal
        pure
        returns (bytes32 node)
    {
        node = leaf;
        for (uint256 level = 0; level < 8; ++level) {
            bytes32 sibling = siblings[level];
            bool isRight = (position >> level) & 1 == 1;
            node = keccak256(isRight ? bytes.concat(sibling, node) : bytes.concat(node, sibling));
        }
    }

    /// @dev `position`, on a path of its own for each of its values, where it is a number to the prover.
    function each(uint8 position) internal pure returns (uint256 number) {
        for (uint256 bit = 0; bit < 8; ++bit) {
            if ((position >> bit) & 1 == 1) number |= 1 << bit;
        }
    }

    /// @dev `p || q` and `!p || q` without a jump: the prover follows both ways of every jump.
    function either(bool p, bool q) internal pure returns (bool r) {
        assembly {
            r := or(p, q)
        }
    }

    function implies(bool p, bool q) internal pure returns (bool) {
        return either(!p, q);
    }
}
