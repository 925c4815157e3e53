// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {RegistryAgreement} from "./RegistryAgreement.sol";

contract RegistryInvariants is RegistryAgreement {
    function setUp() public {
        begin();
        targetContract(address(handler));
        targetSelector(FuzzSelector(address(handler), actions()));
    }

    function invariant_TheRegistryIsAsTheModelSays() public view {
        assertAgreement();
    }
}
