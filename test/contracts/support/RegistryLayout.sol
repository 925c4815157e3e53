// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {
    AccessControlUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/AccessControlUpgradeable.sol";
import {
    AccessControlDefaultAdminRulesUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/extensions/AccessControlDefaultAdminRulesUpgradeable.sol";
import {Initializable} from "@openzeppelin/contracts-upgradeable/proxy/utils/Initializable.sol";
import {PausableUpgradeable} from "@openzeppelin/contracts-upgradeable/utils/PausableUpgradeable.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";

/// @title Every namespaced struct of the registry, as variables
/// @notice The compiler tells the layout of variables only. Never deployed; `tools/layout.py` reads it.
contract RegistryLayout {
    JobRegistry.RegistryStorage internal registry;
    AccessControlUpgradeable.AccessControlStorage internal accessControl;
    AccessControlDefaultAdminRulesUpgradeable.AccessControlDefaultAdminRulesStorage internal adminRules;
    PausableUpgradeable.PausableStorage internal pausable;
    Initializable.InitializableStorage internal initializable;
}
