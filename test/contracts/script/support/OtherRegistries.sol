// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {UUPSUpgradeable} from "@openzeppelin/contracts-upgradeable/proxy/utils/UUPSUpgradeable.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {ERC1967Utils} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Utils.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {StorageSlot} from "@openzeppelin/contracts/utils/StorageSlot.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {Batch} from "contracts/interfaces/IJobRegistry.sol";

/// @dev What ran before this checkout.
contract EarlierRegistry is JobRegistry {
    function version() external pure override returns (string memory) {
        return "0.9.0";
    }
}

/// @dev The code of this checkout, left open to whoever initialises it.
contract OpenRegistry is JobRegistry {
    constructor() {
        assembly {
            sstore(0xf0c57e16840df040f15088dc2f81fe391c3923bec73e23a9662efc9c229c6a00, 0)
        }
    }
}

/// @dev Gives the administration of roles to others.
contract RoleAdminRegistry is JobRegistry {
    function setRoleAdmin(bytes32 role, bytes32 admin) external {
        _setRoleAdmin(role, admin);
    }
}

/// @dev Gives a role that no event tells.
library SilentRoles {
    /// @dev keccak256(abi.encode(uint256(keccak256("openzeppelin.storage.AccessControl")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant ACCESS_CONTROL_SLOT =
        0x02dd7bc7dec4dceedda775e58dd541e08a116c6c53815c0bd028192f7b626800;

    function write(bytes32 role, address account) internal {
        bytes32 data = keccak256(abi.encode(role, ACCESS_CONTROL_SLOT));
        StorageSlot.getBooleanSlot(keccak256(abi.encode(account, data))).value = true;
    }
}

/// @dev Writes into the registry what it likes.
contract SilentRegistry is JobRegistry {
    function write(bytes32 role, address account) external {
        SilentRoles.write(role, account);
    }

    /// @dev The events of a creation.
    function pretendBirth(address account) external {
        emit RoleGranted(CONFIRMER_ROLE, account, account);
        emit Initialized(1);
    }
}

/// @dev The code and the events of the proxy that is deployed, created in another way.
contract ChangedBirth {
    constructor(address implementation, bytes memory data, bytes32 role, address account) {
        ERC1967Utils.upgradeToAndCall(implementation, data);
        SilentRoles.write(role, account);
        bytes memory code = type(ERC1967Proxy).runtimeCode;
        assembly ("memory-safe") {
            return(add(code, 32), mload(code))
        }
    }
}

/// @dev Answers one function as `mask` does, and all others as the registry behind it. Anyone may upgrade it.
contract MaskedRegistry is UUPSUpgradeable {
    address private immutable BEHIND;
    address private immutable MASK;
    bytes4 private immutable MASKED;

    constructor(address behind, address mask, bytes4 masked) {
        (BEHIND, MASK, MASKED) = (behind, mask, masked);
        _disableInitializers();
    }

    fallback(bytes calldata data) external returns (bytes memory) {
        return Address.functionDelegateCall(msg.sig == MASKED ? MASK : BEHIND, data);
    }

    function _authorizeUpgrade(address) internal override {}
}

/// @dev Masks that do not tell the truth.
contract WrongAnswers {
    function supportsInterface(bytes4) external pure returns (bool) {
        return false;
    }

    function eip712Domain()
        external
        pure
        returns (bytes1, string memory, string memory, uint256, address, bytes32, uint256[] memory)
    {
        return (hex"0f", "JobRegister", "2", 5, address(6), 0, new uint256[](0));
    }

    function batch(bytes32) external pure returns (Batch memory) {
        return Batch({submitter: address(7), confirmedAt: 8, jobs: 9, approvals: 10, format: 1});
    }
}

/// @dev Not the proxy that is deployed: it takes payments.
contract OtherProxy is ERC1967Proxy {
    constructor(address implementation, bytes memory data) ERC1967Proxy(implementation, data) {}

    receive() external payable {}
}
