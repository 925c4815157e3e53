// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {SignedRegistryTest} from "./support/SignedRegistryTest.sol";
import {IJobRegistry, JobConfirmation, Proof, Revocation, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @dev Measures what the registry's views cost a contract that calls them first in its transaction.
contract Consumer {
    IJobRegistry private immutable REGISTRY;

    constructor(IJobRegistry registry) {
        REGISTRY = registry;
    }

    function verify(JobConfirmation calldata job, Proof calldata proof) external view returns (uint256) {
        uint256 before = gasleft();
        bool verified = REGISTRY.verify(job, proof);
        uint256 used = before - gasleft();
        assert(verified);
        return used;
    }

    function isConfirmed(uint64 ticket) external view returns (uint256) {
        uint256 before = gasleft();
        bool confirmed = REGISTRY.isConfirmed(ticket);
        uint256 used = before - gasleft();
        assert(confirmed);
        return used;
    }
}

/// @dev Each call from the test is a transaction of its own: cold storage, 21,000 and calldata included.
/// forge-config: default.isolate = true
contract GasTest is SignedRegistryTest {
    uint256 private constant TRANSACTION_GAS_CAP = 2 ** 24;

    /// @dev An index without zero bytes in its lower half, as a registry has after many years.
    uint64 private constant FIRST = 0x01010101;

    Consumer private consumer;

    function setUp() public override {
        super.setUp();
        consumer = new Consumer(registry);
    }

    function test_Dense() public {
        measured("confirm dense, 1 job", spread(FIRST, 1, 1));
        measured("confirm dense, 10 jobs", spread(FIRST + 1, 1, 10));
        measured("confirm dense, 100 jobs", spread(FIRST + 2, 1, 100));
        assertLe(measured("confirm dense, 256 jobs", spread(FIRST + 3, 1, 256)), 332 * 256);

        Word[] memory thousand = spread(FIRST + 4, 4, 256);
        thousand[3].mask = (1 << (1000 - 3 * 256)) - 1;
        measured("confirm dense, 1000 jobs", thousand);
        assertLe(measured("confirm dense, 4096 jobs", spread(FIRST + 8, 16, 256)), 118 * 4096);
    }

    function test_Scattered() public {
        uint256[3] memory counts = [uint256(4), 16, 64];
        uint64 first = FIRST;
        for (uint256 i = 0; i < counts.length; ++i) {
            string memory where = string.concat("256 jobs over ", vm.toString(counts[i]));
            Word[] memory words = spread(first, counts[i], 256 / counts[i]);
            measured(string.concat("confirm ", where, " fresh words"), words);

            for (uint256 j = 0; j < words.length; ++j) {
                words[j].mask <<= 128;
            }
            measured(string.concat("confirm ", where, " touched words"), words);
            first += 1000;
        }
    }

    function test_Signed() public {
        for (uint8 count = 1; count <= 3; ++count) {
            setQuorum(LANE, count);
            string memory suffix =
                string.concat(vm.toString(count), count == 1 ? " signature" : " signatures");
            uint64 first = CRITICAL + FIRST + 1000 * uint64(count);
            measuredSigned(string.concat("confirm 256 jobs with ", suffix), spread(first, 1, 256), count);
            measuredSigned(
                string.concat("confirm 4096 jobs with ", suffix), spread(first + 1, 16, 256), count
            );
        }
    }

    function test_LargestBatch() public {
        Word[] memory words = spread(FIRST, 512, 256);
        assertLt(measured("confirm dense, 131072 jobs", words), TRANSACTION_GAS_CAP);
    }

    /// @dev The most that a call can be made to do with keys: 512 fresh words and 255 of them. What a signer with code takes
    /// is bounded by nothing; its sender leaves it out.
    function test_LargestSignedBatch() public {
        for (uint256 i = allSigners.length; i < 255; ++i) {
            (address account, uint256 key) = makeAddrAndKey(vm.toString(i));
            addSigner(account);
            keyOf[account] = key;
        }
        setQuorum(LANE, 255);
        Word[] memory words = spread(CRITICAL + FIRST, 512, 256);
        assertLt(measuredSigned("confirm 131072 jobs with 255 signatures", words, 255), TRANSACTION_GAS_CAP);
    }

    function test_Verify() public {
        uint256[3] memory counts = [uint256(1), 4, 16];
        uint64 first = FIRST;
        for (uint256 i = 0; i < counts.length; ++i) {
            Word[] memory words = spread(first, counts[i], 256);
            uint256 at = counts[i] / 2;
            words[at] = wordOf(words[at].index, DENSE);
            confirm(words);
            JobConfirmation memory job = jobOf(ticketAt(words[at].index, 200));
            string memory name = string.concat("verify in a batch of ", vm.toString(counts[i]));
            vm.snapshotValue("registry", name, consumer.verify(job, proofOf(words, at, 200)));
            first += 1000;
        }
    }

    function test_IsConfirmed() public {
        confirm(spread(FIRST, 1, 256));
        vm.snapshotValue("registry", "isConfirmed", consumer.isConfirmed(ticketAt(FIRST, 77)));
    }

    function test_Revoke() public {
        confirm(spread(FIRST, 512, 256));
        measuredRevocation("revoke 1 job", FIRST, 1, 1);
        measuredRevocation("revoke 1 job in a touched word", FIRST, 1, 2);
        measuredRevocation("revoke 256 jobs", FIRST + 1, 1, DENSE);
        measuredRevocation("revoke 4096 jobs", FIRST + 2, 16, DENSE);
        assertLt(measuredRevocation("revoke 131072 jobs again", FIRST, 512, DENSE), TRANSACTION_GAS_CAP);
    }

    /// @dev `count` words with the lowest `jobs` tickets each. No byte of a root is zero: the most that a word's leaf,
    /// and so its calldata, can cost.
    function spread(uint64 first, uint256 count, uint256 jobs) private pure returns (Word[] memory words) {
        words = opaqueWords(first, count, DENSE >> (256 - jobs));
        for (uint256 i = 0; i < count; ++i) {
            words[i].root |= 0x0101010101010101010101010101010101010101010101010101010101010101;
        }
    }

    function measured(string memory name, Word[] memory words) private returns (uint256) {
        return recorded(name, confirm(words));
    }

    function measuredSigned(string memory name, Word[] memory words, uint256 count)
        private
        returns (uint256)
    {
        return recorded(name, confirmSigned(words, count));
    }

    /// @dev The gas of the last call, which confirmed the batch `root`.
    function recorded(string memory name, bytes32 root) private returns (uint256 gas) {
        gas = vm.snapshotGasLastCall("registry", name);
        emit log_named_uint(string.concat(name, ", gas a job"), gas / registry.batch(root).jobs);
    }

    function measuredRevocation(string memory name, uint64 first, uint256 count, uint256 mask)
        private
        returns (uint256)
    {
        Revocation[] memory words = new Revocation[](count);
        for (uint64 i = 0; i < count; ++i) {
            words[i] = Revocation(first + i, mask);
        }
        vm.prank(REVOKER);
        registry.revoke(words, "measured");
        return vm.snapshotGasLastCall("registry", name);
    }
}
