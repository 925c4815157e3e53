// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ReferenceTree} from "./support/ReferenceTree.sol";
import {RegistryTest} from "./support/RegistryTest.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {JobConfirmation, Proof, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @notice The registry against the published vectors of format 1 (docs/reference/vectors.md).
contract VectorsTest is RegistryTest {
    struct Domain {
        uint64 chainId;
        address registry;
    }

    struct LeafCase {
        uint64 chainId;
        address registry;
        JobConfirmation job;
        bytes32 leaf;
    }

    struct Proven {
        uint64 ticket;
        bytes32 leaf;
        Proof proof;
    }

    struct BatchCase {
        string note;
        Word[] words;
        bytes32 root;
        Proven[] proven;
    }

    struct Forgery {
        string note;
        JobConfirmation job;
        Proof proof;
    }

    struct Refusal {
        string note;
        Word[] words;
        string error;
    }

    string private constant FILE = "test/contracts/vectors/format1.json";
    string private constant JOB =
        "JobConfirmation(uint64 ticket,bytes16 jobId,bytes32 inputHash,bytes32 outputHash,uint64 completedAt,bytes32 salt)";
    string private constant PROOF = "Proof(bytes32[8] word,uint256 mask,bytes32[] batch)";
    string private constant WORD = "Word(uint64 index,uint256 mask,bytes32 root)";

    /// @dev The registry of the vectors, at its address on its chain, with every lane open to one confirmer.
    function setUp() public override {
        super.setUp();
        Domain memory domain =
            abi.decode(read(".domain", "Domain(uint64 chainId,address registry)"), (Domain));
        vm.chainId(domain.chainId);
        registry = registryAt(domain.registry);
        for (uint8 lane = 1; lane < 32; ++lane) {
            setQuorum(lane, 1);
        }
    }

    function test_EachLeafIsTheRegistrys() public {
        string memory kind = "LeafCase(uint64 chainId,address registry,JobConfirmation job,bytes32 leaf)";
        LeafCase[] memory cases = abi.decode(readAll(".leaves", string.concat(kind, JOB)), (LeafCase[]));
        for (uint256 i = 0; i < cases.length; ++i) {
            LeafCase memory one = cases[i];
            vm.chainId(one.chainId);
            assertEq(registryAt(one.registry).leafOf(one.job), one.leaf, vm.toString(i));
        }
        assertGt(cases.length, 0);
    }

    function test_EachWordHasTheRootOfItsLeaves() public view {
        Word[] memory cases = abi.decode(readAll(".words", WORD), (Word[]));
        for (uint256 i = 0; i < cases.length; ++i) {
            assertEq(ReferenceTree.wordRoot(leavesOfWord(cases[i])), cases[i].root, vm.toString(i));
        }
        assertGt(cases.length, 0);
    }

    function test_EachBatchHasItsRootAndItsProofs() public {
        BatchCase[] memory cases = abi.decode(readAll(".batches", batchKind()), (BatchCase[]));
        for (uint256 i = 0; i < cases.length; ++i) {
            // Batches of the file share tickets.
            uint256 snapshot = vm.snapshotState();
            checkBatch(cases[i]);
            vm.revertToState(snapshot);
        }
        assertGt(cases.length, 0);
    }

    function test_EachForgeryIsFalse() public {
        checkBatch(abi.decode(read(".forged", batchKind()), (BatchCase)));

        string memory kind = "Forgery(string note,JobConfirmation job,Proof proof)";
        Forgery[] memory cases =
            abi.decode(readAll(".forgeries", string.concat(kind, JOB, PROOF)), (Forgery[]));
        for (uint256 i = 0; i < cases.length; ++i) {
            assertFalse(registry.verify(cases[i].job, cases[i].proof), cases[i].note);
        }
        assertGt(cases.length, 0);
    }

    function test_EachRefusalIsTheRegistrys() public {
        string memory kind = "Refusal(string note,Word[] words,string error)";
        Refusal[] memory cases = abi.decode(readAll(".refusals", string.concat(kind, WORD)), (Refusal[]));
        for (uint256 i = 0; i < cases.length; ++i) {
            vm.expectPartialRevert(bytes4(keccak256(bytes(cases[i].error))));
            confirm(cases[i].words);
        }
        assertGt(cases.length, 0);
    }

    function checkBatch(BatchCase memory one) private {
        assertEq(confirm(one.words), one.root, one.note);
        for (uint256 i = 0; i < one.proven.length; ++i) {
            Proven memory proven = one.proven[i];
            JobConfirmation memory job = impliedJob(proven.ticket);
            assertEq(registry.leafOf(job), proven.leaf, one.note);
            assertTrue(registry.verify(job, proven.proof), one.note);
        }
        assertGt(one.proven.length, 0);
    }

    function batchKind() private pure returns (string memory) {
        return string.concat(
            "BatchCase(string note,Word[] words,bytes32 root,Proven[] proven)",
            "Proven(uint64 ticket,bytes32 leaf,Proof proof)",
            PROOF,
            WORD
        );
    }

    /// @dev What stands at `path` of the file, a struct of EIP-712 type `kind`, encoded by the ABI.
    function read(string memory path, string memory kind) private view returns (bytes memory) {
        return vm.parseJsonType(vm.readFile(FILE), path, kind);
    }

    /// @dev As `read`, an array of structs.
    function readAll(string memory path, string memory kind) private view returns (bytes memory) {
        return vm.parseJsonTypeArray(vm.readFile(FILE), path, kind);
    }

    /// @dev The registry at an address; set up there unless it is already.
    function registryAt(address at) private returns (JobRegistry) {
        if (at.code.length == 0) {
            deployCodeTo("ERC1967Proxy.sol", abi.encode(address(implementation), initialization()), at);
        }
        return JobRegistry(at);
    }

    function leavesOfWord(Word memory word) private view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](256);
        for (uint256 position = 0; position < 256; ++position) {
            if ((word.mask >> position) & 1 == 1) {
                leaves[position] = registry.leafOf(impliedJob(ticketAt(word.index, position)));
            }
        }
    }

    /// @dev The job that the file means where it gives a ticket and no more.
    function impliedJob(uint64 ticket) private pure returns (JobConfirmation memory) {
        return JobConfirmation({
            ticket: ticket,
            jobId: bytes16(impliedField(ticket, "jobId")),
            inputHash: impliedField(ticket, "inputHash"),
            outputHash: impliedField(ticket, "outputHash"),
            completedAt: uint32(bytes4(impliedField(ticket, "completedAt"))),
            salt: impliedField(ticket, "salt")
        });
    }

    function impliedField(uint64 ticket, string memory name) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(ticket, name));
    }
}
