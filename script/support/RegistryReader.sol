// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {JobRegistry} from "../../contracts/JobRegistry.sol";
import {IJobRegistry} from "../../contracts/interfaces/IJobRegistry.sol";
import {Grant, Roles} from "./Roles.sol";

/// @notice What a registry says that it is.
struct Identity {
    string version;
    bool isJobRegistry;
    string domainName;
    string domainVersion;
    uint256 domainChain;
    address domainContract;
}

/// @notice Who may do what in a registry.
/// @param nextAdmin Who may accept the default admin, from `nextAdminTime` on; both zero if nobody may.
/// @param nextDelay The delay that holds from `nextDelayTime` on; both zero if none is pending.
/// @param holdings Who holds which role now.
/// @param roleAdmins Who gives and takes the role at the same place in {Roles-ofRegistry}.
struct Administration {
    address admin;
    uint48 adminDelay;
    address nextAdmin;
    uint48 nextAdminTime;
    uint48 nextDelay;
    uint48 nextDelayTime;
    bool paused;
    uint8[32] quorums;
    Grant[] holdings;
    bytes32[5] roleAdmins;
}

/// @title Reads a registry
/// @notice A contract of its own, so that a script survives what does not answer as a registry.
contract RegistryReader {
    function identity(JobRegistry registry) external view returns (Identity memory read) {
        read.version = registry.version();
        read.isJobRegistry = registry.supportsInterface(type(IJobRegistry).interfaceId);
        (, read.domainName, read.domainVersion, read.domainChain, read.domainContract,,) =
            registry.eip712Domain();
    }

    /// @param grants Every role that the registry has ever given: roles cannot be enumerated.
    function administration(JobRegistry registry, Grant[] calldata grants)
        external
        view
        returns (Administration memory read)
    {
        read.admin = registry.defaultAdmin();
        read.adminDelay = registry.defaultAdminDelay();
        (read.nextAdmin, read.nextAdminTime) = registry.pendingDefaultAdmin();
        (read.nextDelay, read.nextDelayTime) = registry.pendingDefaultAdminDelay();
        read.paused = registry.paused();
        for (uint8 lane = 0; lane < read.quorums.length; ++lane) {
            read.quorums[lane] = registry.quorum(lane);
        }
        read.holdings = Roles.held(registry, grants);
        bytes32[5] memory roles = Roles.ofRegistry();
        for (uint256 i = 0; i < roles.length; ++i) {
            read.roleAdmins[i] = registry.getRoleAdmin(roles[i]);
        }
    }
}
