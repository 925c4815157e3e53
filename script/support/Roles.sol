// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {StdConstants} from "forge-std/StdConstants.sol";

/// @notice A role of an account: one that it holds, or one that it was once given.
struct Grant {
    bytes32 role;
    address account;
}

/// @title The roles of registry and timelock
library Roles {
    bytes32 internal constant DEFAULT_ADMIN = 0;

    bytes32 internal constant CONFIRMER = keccak256("CONFIRMER_ROLE");
    bytes32 internal constant PAUSER = keccak256("PAUSER_ROLE");
    bytes32 internal constant REVOKER = keccak256("REVOKER_ROLE");
    bytes32 internal constant UPGRADER = keccak256("UPGRADER_ROLE");

    bytes32 internal constant PROPOSER = keccak256("PROPOSER_ROLE");
    bytes32 internal constant EXECUTOR = keccak256("EXECUTOR_ROLE");
    bytes32 internal constant CANCELLER = keccak256("CANCELLER_ROLE");

    /// @notice The roles of a registry.
    function ofRegistry() internal pure returns (bytes32[5] memory) {
        return [DEFAULT_ADMIN, CONFIRMER, PAUSER, REVOKER, UPGRADER];
    }

    /// @notice What people call a role; an unknown one is called by its number.
    function nameOf(bytes32 role) internal pure returns (string memory) {
        if (role == DEFAULT_ADMIN) return "DEFAULT_ADMIN_ROLE";
        if (role == CONFIRMER) return "CONFIRMER_ROLE";
        if (role == PAUSER) return "PAUSER_ROLE";
        if (role == REVOKER) return "REVOKER_ROLE";
        if (role == UPGRADER) return "UPGRADER_ROLE";
        if (role == PROPOSER) return "PROPOSER_ROLE";
        if (role == EXECUTOR) return "EXECUTOR_ROLE";
        if (role == CANCELLER) return "CANCELLER_ROLE";
        return string.concat("role ", StdConstants.VM.toString(role));
    }

    /// @notice Those of `grants` that hold now.
    function held(IAccessControl target, Grant[] memory grants)
        internal
        view
        returns (Grant[] memory holding)
    {
        for (uint256 i = 0; i < grants.length; ++i) {
            (bytes32 role, address account) = (grants[i].role, grants[i].account);
            if (target.hasRole(role, account)) holding = with(holding, role, account);
        }
    }

    /// @notice The accounts with `role` among `grants`.
    function accounts(Grant[] memory grants, bytes32 role) internal pure returns (address[] memory found) {
        found = new address[](grants.length);
        uint256 count;
        for (uint256 i = 0; i < grants.length; ++i) {
            if (grants[i].role == role) found[count++] = grants[i].account;
        }
        assembly ("memory-safe") {
            mstore(found, count)
        }
    }

    function contain(Grant[] memory grants, bytes32 role, address account) internal pure returns (bool) {
        for (uint256 i = 0; i < grants.length; ++i) {
            if (grants[i].role == role && grants[i].account == account) return true;
        }
        return false;
    }

    /// @notice A copy of `grants` with one more, unless it is among them.
    function with(Grant[] memory grants, bytes32 role, address account)
        internal
        pure
        returns (Grant[] memory more)
    {
        if (contain(grants, role, account)) return grants;
        more = new Grant[](grants.length + 1);
        for (uint256 i = 0; i < grants.length; ++i) {
            more[i] = grants[i];
        }
        more[grants.length] = Grant({role: role, account: account});
    }

    /// @notice Both without repetition.
    function union(Grant[] memory grants, Grant[] memory others) internal pure returns (Grant[] memory all) {
        all = grants;
        for (uint256 i = 0; i < others.length; ++i) {
            all = with(all, others[i].role, others[i].account);
        }
    }
}
