// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ReferenceTree} from "./ReferenceTree.sol";
import {RegistryTest} from "./RegistryTest.sol";
import {Signing} from "./Signing.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {IJobRegistry, JobConfirmation, Proof, Revocation, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @title Jobs of any content, confirmed by one or by a quorum, to be consumed
abstract contract ConsumerTest is RegistryTest {
    uint8 internal constant LANE = 1;
    uint8 internal constant QUORUM = 2;

    /// @dev Two tickets of the lane that needs a quorum, and one of the lane that needs a single confirmer.
    uint64 internal constant TICKET = (uint64(LANE) << 56) | 0x2a05;
    uint64 internal constant OTHER_TICKET = (uint64(LANE) << 56) | 0x2b07;
    uint64 internal constant STANDARD_TICKET = 0x2a05;

    function setUp() public virtual override {
        super.setUp();
        setQuorum(LANE, QUORUM);
    }

    /// @dev The same job, input and all, under another ticket and with another output.
    function twinOf(JobConfirmation memory job, uint64 ticket)
        internal
        pure
        returns (JobConfirmation memory twin)
    {
        twin = jobOf(ticket);
        (twin.jobId, twin.inputHash) = (job.jobId, job.inputHash);
    }

    /// @dev Confirms a batch of this job alone, on the word of one confirmer.
    function confirmAlone(JobConfirmation memory job) internal returns (Proof memory) {
        return confirmIn(registry, job, CONFIRMER);
    }

    /// @dev As `confirmAlone`, in a registry that need not be ours.
    function confirmIn(JobRegistry there, JobConfirmation memory job, address confirmer)
        internal
        returns (Proof memory proof)
    {
        Word memory word;
        (word, proof) = singleton(there, job);
        vm.prank(confirmer);
        there.confirmBatch(only(word));
    }

    /// @dev Confirms a batch of this job alone, signed by two confirmers.
    function confirmTogether(JobConfirmation memory job) internal returns (Proof memory proof) {
        Word memory word;
        (word, proof) = singleton(registry, job);
        uint256[] memory keys = new uint256[](2);
        (, keys[0]) = makeAddrAndKey("confirmer");
        (, keys[1]) = makeAddrAndKey("other confirmer");
        bytes32 digest = registry.approvalDigest(ReferenceTree.batchRoot(only(word)), block.timestamp);
        (address[] memory signers, bytes[] memory signatures) = Signing.sign(digest, keys);
        registry.confirmBatchWithSignatures(only(word), block.timestamp, signers, signatures);
    }

    function upperByteOf(uint64 ticket) internal pure returns (uint8) {
        return uint8(bytes8(ticket)[0]);
    }

    function revoke(uint64 ticket) internal {
        Revocation[] memory words = new Revocation[](1);
        words[0] = Revocation({index: ticket >> 8, mask: 1 << (ticket & 255)});
        vm.prank(REVOKER);
        registry.revoke(words, "test");
    }

    function pause() internal {
        vm.prank(PAUSER);
        registry.pause();
    }

    /// @dev A registry like ours, of which `owner` is everything.
    function registryOf(address owner) internal returns (JobRegistry) {
        address[] memory accounts = new address[](1);
        accounts[0] = owner;
        JobRegistry.Setup memory theirs = JobRegistry.Setup({
            admin: owner, adminDelay: 0, upgrader: owner, revoker: owner, pauser: owner, confirmers: accounts
        });
        bytes memory call = abi.encodeCall(JobRegistry.initialize, (theirs));
        return JobRegistry(address(new ERC1967Proxy(address(implementation), call)));
    }

    /// @dev The word that holds this job alone, and the job's proof in a batch of this word alone.
    function singleton(IJobRegistry there, JobConfirmation memory job)
        internal
        view
        returns (Word memory word, Proof memory proof)
    {
        uint256 position = job.ticket & 255;
        bytes32[] memory leaves = new bytes32[](256);
        leaves[position] = there.leafOf(job);
        word = Word({index: job.ticket >> 8, mask: 1 << position, root: ReferenceTree.wordRoot(leaves)});
        proof = Proof({
            word: ReferenceTree.wordProof(leaves, position), mask: word.mask, batch: new bytes32[](0)
        });
    }
}
