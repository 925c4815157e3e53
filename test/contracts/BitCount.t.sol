// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {BitCount} from "contracts/libraries/BitCount.sol";
import {Test} from "forge-std/Test.sol";

contract BitCountTest is Test {
    function testFuzz_CountsEveryBit(uint256 mask) public pure {
        uint256 count;
        for (uint256 bit = 0; bit < 256; ++bit) {
            count += (mask >> bit) & 1;
        }
        assertEq(BitCount.ones(mask), count);
    }

    function test_CountsNoneOneAndAll() public pure {
        assertEq(BitCount.ones(0), 0);
        assertEq(BitCount.ones(type(uint256).max), 256);
        for (uint256 bit = 0; bit < 256; ++bit) {
            assertEq(BitCount.ones(1 << bit), 1);
            assertEq(BitCount.ones(~(1 << bit)), 255);
        }
    }
}
