// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {JobRegistry} from "../../contracts/JobRegistry.sol";
import {IJobRegistry} from "../../contracts/interfaces/IJobRegistry.sol";
import {RegistryDomain} from "../../contracts/libraries/RegistryDomain.sol";
import {Findings, FindingsLib} from "./Findings.sol";
import {Administration, Identity, RegistryReader} from "./RegistryReader.sol";
import {Grant, Roles} from "./Roles.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {StdConstants} from "forge-std/StdConstants.sol";
import {Vm} from "forge-std/Vm.sol";

/// @title What is wrong with a registry
library Inspection {
    using FindingsLib for Findings;
    using Roles for Grant[];

    /// @dev keccak256(abi.encode(uint256(keccak256("openzeppelin.storage.Initializable")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant INITIALIZABLE_SLOT =
        0xf0c57e16840df040f15088dc2f81fe391c3923bec73e23a9662efc9c229c6a00;

    Vm private constant VM = StdConstants.VM;

    /// @notice The implementation behind a proxy.
    function implementationOf(address proxy) internal view returns (address) {
        return address(uint160(uint256(VM.load(proxy, ERC1967Utils.IMPLEMENTATION_SLOT))));
    }

    /// @notice Whether this is the code of the JobRegistry that this checkout builds.
    /// @dev UUPS bakes the implementation's own address into its code.
    function isOfThisCheckout(address implementation) internal returns (bool) {
        address local = address(new JobRegistry());
        bytes memory built = _replaceWord(local.code, local, implementation);
        return keccak256(built) == implementation.codehash;
    }

    /// @notice Proxy and implementation: the code behind everything that the registry answers.
    function code(Findings memory findings, address registry) internal {
        if (registry.codehash != keccak256(type(ERC1967Proxy).runtimeCode)) {
            findings.add("registry: its code is not the proxy that this checkout builds");
        }
        address implementation = implementationOf(registry);
        string memory subject = string.concat("implementation ", VM.toString(implementation));
        if (!isOfThisCheckout(implementation)) {
            findings.add(string.concat(subject, ": its code is not what this checkout builds"));
        }
        if (uint64(uint256(VM.load(implementation, INITIALIZABLE_SLOT))) != type(uint64).max) {
            findings.add(string.concat(subject, ": its initialisers are not disabled"));
        }
    }

    /// @notice Version, ERC-165 and EIP-712.
    function identity(Findings memory findings, RegistryReader reader, JobRegistry registry) internal {
        try reader.identity(registry) returns (Identity memory actual) {
            findings.compare("version", actual.version, new JobRegistry().version());
            if (!actual.isJobRegistry) {
                string memory id = VM.toString(abi.encodePacked(type(IJobRegistry).interfaceId));
                findings.add(
                    string.concat("ERC-165: IJobRegistry, ", id, ", is not supported, and should be")
                );
            }
            findings.compare("EIP-712 name", actual.domainName, RegistryDomain.NAME);
            findings.compare("EIP-712 version", actual.domainVersion, RegistryDomain.VERSION);
            findings.compare("EIP-712 chain", VM.toString(actual.domainChain), VM.toString(block.chainid));
            findings.compare(
                "EIP-712 contract", VM.toString(actual.domainContract), VM.toString(address(registry))
            );
        } catch {
            findings.add("registry: it does not tell its version, interfaces and EIP-712 domain");
        }
    }

    /// @notice Every difference between two administrations.
    function administration(
        Findings memory findings,
        Administration memory actual,
        Administration memory expected
    ) internal pure {
        findings.compare("default admin", VM.toString(actual.admin), VM.toString(expected.admin));
        findings.compare("default admin delay", _seconds(actual.adminDelay), _seconds(expected.adminDelay));
        findings.compare("transfer of the default admin", _nextAdmin(actual), _nextAdmin(expected));
        findings.compare("change of the default admin delay", _nextDelay(actual), _nextDelay(expected));
        findings.compare("paused", VM.toString(actual.paused), VM.toString(expected.paused));

        bytes32[5] memory roles = Roles.ofRegistry();
        for (uint256 i = 0; i < roles.length; ++i) {
            findings.compare(
                string.concat("admin of ", Roles.nameOf(roles[i])),
                Roles.nameOf(actual.roleAdmins[i]),
                Roles.nameOf(expected.roleAdmins[i])
            );
        }
        holdings(findings, "", actual.holdings, expected.holdings);
        for (uint256 lane = 0; lane < actual.quorums.length; ++lane) {
            findings.compare(
                string.concat("quorum of lane ", VM.toString(lane)),
                VM.toString(actual.quorums[lane]),
                VM.toString(expected.quorums[lane])
            );
        }
    }

    /// @notice Who holds a role and should not, and who should and does not.
    /// @param owner Whose roles they are, with a space behind it, where they are not the registry's.
    function holdings(
        Findings memory findings,
        string memory owner,
        Grant[] memory actual,
        Grant[] memory expected
    ) internal pure {
        for (uint256 i = 0; i < actual.length; ++i) {
            (bytes32 role, address account) = (actual[i].role, actual[i].account);
            if (!expected.contain(role, account)) {
                findings.add(_holding(owner, role, account, " holds it, and should not"));
            }
        }
        for (uint256 i = 0; i < expected.length; ++i) {
            (bytes32 role, address account) = (expected[i].role, expected[i].account);
            if (!actual.contain(role, account)) {
                findings.add(_holding(owner, role, account, " does not hold it, and should"));
            }
        }
    }

    function _holding(string memory owner, bytes32 role, address account, string memory fault)
        private
        pure
        returns (string memory)
    {
        return string.concat(owner, Roles.nameOf(role), ": ", VM.toString(account), fault);
    }

    function _nextAdmin(Administration memory administration_) private pure returns (string memory) {
        if (administration_.nextAdminTime == 0) return "none";
        return string.concat(
            "to ",
            VM.toString(administration_.nextAdmin),
            ", who may accept after ",
            VM.toString(administration_.nextAdminTime)
        );
    }

    function _nextDelay(Administration memory administration_) private pure returns (string memory) {
        if (administration_.nextDelayTime == 0) return "none";
        return string.concat(
            "to ", _seconds(administration_.nextDelay), " after ", VM.toString(administration_.nextDelayTime)
        );
    }

    function _seconds(uint256 delay) private pure returns (string memory) {
        return string.concat(VM.toString(delay), " s");
    }

    /// @dev Replaces `was` by `is_` where it stands as a word of its own, as an immutable address does.
    function _replaceWord(bytes memory where, address was, address is_) private pure returns (bytes memory) {
        for (uint256 end = 32; end <= where.length; ++end) {
            assembly ("memory-safe") {
                let place := add(where, end)
                if eq(mload(place), was) { mstore(place, is_) }
            }
        }
        return where;
    }
}
