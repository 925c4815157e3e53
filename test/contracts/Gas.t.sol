// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {RegistryTest} from "./support/RegistryTest.sol";
import {Proof, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @dev Each call from the test is a transaction of its own: cold storage, 21,000 and calldata included.
/// forge-config: default.isolate = true
contract GasTest is RegistryTest {
    uint256 private constant TRANSACTION_GAS_CAP = 2 ** 24;

    /// @dev The most that a word's leaf, and so its calldata, can cost: no zero byte in a root.
    function words(uint64 first, uint256 count, uint256 mask) private pure returns (Word[] memory made) {
        made = opaqueWords(first, count, mask);
        for (uint256 i = 0; i < count; ++i) {
            made[i].root |= 0x0101010101010101010101010101010101010101010101010101010101010101;
        }
    }

    function test_OneJob() public {
        measured("confirm 1 job", words(1 << 40, 1, 1));
    }

    function test_Dense256() public {
        assertLe(measured("confirm 256 jobs", words(1 << 40, 1, DENSE)), 332 * 256);
    }

    function test_OneJobInATouchedWord() public {
        confirm(words(1 << 40, 1, 1));
        measured("confirm 1 job in a touched word", words(1 << 40, 1, 2));
    }

    function test_Dense4096() public {
        assertLe(measured("confirm 4096 jobs", words(1 << 40, 16, DENSE)), 118 * 4096);
    }

    function test_LargestBatch() public {
        assertLt(measured("confirm 131072 jobs", words(1 << 40, 512, DENSE)), TRANSACTION_GAS_CAP);
    }

    function test_Verify() public {
        Word[] memory batch = words(1 << 40, 16, DENSE);
        batch[3] = wordOf(batch[3].index, DENSE);
        confirm(batch);
        Proof memory proof = proofOf(batch, 3, 200);
        assertTrue(registry.verify(jobOf(ticketAt(batch[3].index, 200)), proof));
        vm.snapshotGasLastCall("registry", "verify 1 of 4096 jobs");
    }

    function measured(string memory name, Word[] memory batch) private returns (uint256 gas) {
        confirm(batch);
        gas = vm.snapshotGasLastCall("registry", name);
        emit log_named_uint(string.concat(name, ", gas a job"), gas / (batch.length * bitsOf(batch[0].mask)));
    }

    function bitsOf(uint256 mask) private pure returns (uint256) {
        return mask == DENSE ? 256 : 1;
    }
}
