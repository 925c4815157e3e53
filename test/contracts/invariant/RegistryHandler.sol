// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {ReferenceTree} from "../support/ReferenceTree.sol";
import {JobTrees} from "./JobTrees.sol";
import {RegistryModel} from "./RegistryModel.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {JobRegistry} from "contracts/JobRegistry.sol";
import {Revocation, Word} from "contracts/interfaces/IJobRegistry.sol";
import {Test} from "forge-std/Test.sol";

/// @title All that a registry can undergo
/// @notice Every action draws its choices from one number, asks the model what the registry must answer, and holds the
/// registry to it, to the last byte of its error. What the registry does, the model then does too.
contract RegistryHandler is RegistryModel, JobTrees, Test {
    uint256 public constant ACTORS = 9;

    /// @notice In ascending order of their addresses.
    address[] public actors;
    mapping(address actor => uint256 key) private _keyOf;

    /// @notice How often a function was answered with an error, by their selectors; the error 0: it succeeded.
    mapping(bytes4 call => mapping(bytes4 refusal => uint256)) public outcomes;

    uint256 public revocationsWhilePaused;

    uint256 private _entropy;

    modifier drawing(uint256 seed) {
        _entropy = seed;
        _;
    }

    constructor() {
        string[ACTORS] memory names =
            ["admin", "upgrader", "revoker", "pauser", "first", "second", "third", "heir", "stranger"];
        for (uint256 i = 0; i < ACTORS; ++i) {
            (address actor, uint256 key) = makeAddrAndKey(names[i]);
            _keyOf[actor] = key;
            actors.push(actor);
            for (uint256 at = i; at > 0 && actors[at] < actors[at - 1]; --at) {
                (actors[at], actors[at - 1]) = (actors[at - 1], actors[at]);
            }
        }
        _deploy();
    }

    // --- confirming -------------------------------------------------------------------------------

    function confirm(uint256 seed) external drawing(seed) {
        _confirm(_drawWords());
    }

    function confirmFlawed(uint256 seed) external drawing(seed) {
        _confirm(_drawFlawedWords());
    }

    function confirmSigned(uint256 seed) external drawing(seed) {
        Planted memory planted = _drawWords();
        _confirmSigned(planted, _drawApproval(planted.words));
    }

    function confirmSignedFlawed(uint256 seed) external drawing(seed) {
        bool areWordsFlawed = _draw(2) == 0;
        Planted memory planted = areWordsFlawed ? _drawFlawedWords() : _drawWords();
        Approval memory approval = _drawApproval(planted.words);
        if (!areWordsFlawed) _flaw(approval);
        _confirmSigned(planted, approval);
    }

    function _confirm(Planted memory planted) private {
        address sender = _drawHolder(CONFIRMER_ROLE);
        bytes memory refusal = refusalOfConfirm(sender, planted.words);
        bytes memory answer = _act(sender, abi.encodeCall(JobRegistry.confirmBatch, (planted.words)), refusal);
        _record(planted, sender, 1, refusal.length == 0, answer);
    }

    function _confirmSigned(Planted memory planted, Approval memory approval) private {
        address sender = actors[_draw(ACTORS)];
        bytes memory refusal = refusalOfSigned(planted.words, approval);
        bytes memory data = abi.encodeCall(
            JobRegistry.confirmBatchWithSignatures,
            (planted.words, approval.deadline, approval.signers, approval.signatures)
        );
        bytes memory answer = _act(sender, data, refusal);
        _record(planted, sender, approval.signers.length, refusal.length == 0, answer);
    }

    function _record(
        Planted memory planted,
        address sender,
        uint256 approvals,
        bool isConfirmed,
        bytes memory answer
    ) private {
        keepClaims(planted, isConfirmed);
        if (!isConfirmed) return;
        bytes32 root = ReferenceTree.batchRoot(planted.words);
        assertEq(abi.decode(answer, (bytes32)), root, "root");
        noteConfirmed(root, sender, planted.words, approvals);
    }

    // --- revoking ---------------------------------------------------------------------------------

    function revoke(uint256 seed) external drawing(seed) {
        Revocation[] memory words = new Revocation[](1 + _draw(2));
        for (uint256 i = 0; i < words.length; ++i) {
            uint64 index = wordIndices()[_draw(7)];
            uint256 spent = spentMask(index);
            uint256 mask = spent & _drawMask();
            words[i] = Revocation(index, mask == 0 ? spent : mask);
        }
        _revoke(words);
    }

    function revokeFlawed(uint256 seed) external drawing(seed) {
        Revocation[] memory words = new Revocation[](_draw(2));
        for (uint256 i = 0; i < words.length; ++i) {
            words[i] = Revocation(wordIndices()[_draw(9)], _drawMask());
        }
        _revoke(words);
    }

    function _revoke(Revocation[] memory words) private {
        address sender = _drawHolder(REVOKER_ROLE);
        bytes memory refusal = refusalOfRevoke(sender, words);
        _act(sender, abi.encodeCall(JobRegistry.revoke, (words, "reason")), refusal);
        if (refusal.length != 0) return;
        noteRevoked(words);
        if (isPaused) ++revocationsWhilePaused;
    }

    // --- administration ---------------------------------------------------------------------------

    function setQuorum(uint256 seed) external drawing(seed) {
        uint8 lane = [0, 1, 1, 31, 31, 32, 255][_draw(7)];
        uint8 k = [0, 1, 1, 2, 2, 3, 255][_draw(7)];
        address sender = _drawHolder(ADMIN_ROLE);
        bytes memory refusal = refusalOfSetQuorum(sender, lane);
        _act(sender, abi.encodeCall(JobRegistry.setQuorum, (lane, k)), refusal);
        if (refusal.length == 0) quorumOf[lane] = k;
    }

    /// @dev Tries to pause once for every three times it tries to unpause: most of a campaign is for confirming.
    function switchPause(uint256 seed) external drawing(seed) {
        bool pauses = _draw(4) == 0;
        address sender = _drawHolder(pauses ? PAUSER_ROLE : ADMIN_ROLE);
        bytes memory refusal = pauses ? refusalOfPause(sender) : refusalOfUnpause(sender);
        bytes memory data =
            pauses ? abi.encodeCall(JobRegistry.pause, ()) : abi.encodeCall(JobRegistry.unpause, ());
        _act(sender, data, refusal);
        if (refusal.length == 0) isPaused = pauses;
    }

    function grantRole(uint256 seed) external drawing(seed) {
        bytes32 role = roles()[_draw(5)];
        address account = actors[_draw(ACTORS)];
        address sender = _drawHolder(role == UPGRADER_ROLE ? UPGRADER_ROLE : ADMIN_ROLE);
        bytes memory refusal = refusalOfRoleChange(sender, role);
        _act(sender, abi.encodeWithSignature("grantRole(bytes32,address)", role, account), refusal);
        if (refusal.length == 0) holds[role][account] = true;
    }

    function revokeRole(uint256 seed) external drawing(seed) {
        bytes32 role = roles()[_draw(5)];
        address account = actors[_draw(ACTORS)];
        address sender = _drawHolder(role == UPGRADER_ROLE ? UPGRADER_ROLE : ADMIN_ROLE);
        bytes memory refusal = refusalOfRoleChange(sender, role);
        _act(sender, abi.encodeWithSignature("revokeRole(bytes32,address)", role, account), refusal);
        if (refusal.length == 0) holds[role][account] = false;
    }

    function renounceRole(uint256 seed) external drawing(seed) {
        bytes32 role = roles()[_draw(5)];
        address sender = _draw(3) == 0 ? _drawHolder(role) : actors[_draw(ACTORS)];
        address account = _draw(4) == 0 ? actors[_draw(ACTORS)] : sender;
        bytes memory refusal = refusalOfRenounce(sender, role, account);
        _act(sender, abi.encodeWithSignature("renounceRole(bytes32,address)", role, account), refusal);
        if (refusal.length != 0) return;
        holds[role][account] = false;
        if (role == ADMIN_ROLE && account == admin) (admin, adminSchedule) = (address(0), 0);
    }

    /// @dev To an actor, or to nobody, after which the admin may renounce.
    function beginAdminTransfer(uint256 seed) external drawing(seed) {
        address next = _draw(8) == 0 ? address(0) : actors[_draw(ACTORS)];
        address sender = _drawHolder(ADMIN_ROLE);
        bytes memory refusal = refusalOfHandOver(sender);
        _act(sender, abi.encodeWithSignature("beginDefaultAdminTransfer(address)", next), refusal);
        if (refusal.length == 0) (nextAdmin, adminSchedule) = (next, uint48(block.timestamp) + ADMIN_DELAY);
    }

    function cancelAdminTransfer(uint256 seed) external drawing(seed) {
        address sender = _drawHolder(ADMIN_ROLE);
        bytes memory refusal = refusalOfHandOver(sender);
        _act(sender, abi.encodeWithSignature("cancelDefaultAdminTransfer()"), refusal);
        if (refusal.length == 0) (nextAdmin, adminSchedule) = (address(0), 0);
    }

    function acceptAdminTransfer(uint256 seed) external drawing(seed) {
        bool isHeir = nextAdmin != address(0) && _draw(4) != 0;
        address sender = isHeir ? nextAdmin : actors[_draw(ACTORS)];
        bytes memory refusal = refusalOfAccept(sender);
        _act(sender, abi.encodeWithSignature("acceptDefaultAdminTransfer()"), refusal);
        if (refusal.length != 0) return;
        holds[ADMIN_ROLE][admin] = false;
        holds[ADMIN_ROLE][sender] = true;
        (admin, nextAdmin, adminSchedule) = (sender, address(0), 0);
    }

    function upgrade(uint256 seed) external drawing(seed) {
        address next = address(new JobRegistry());
        address sender = _drawHolder(UPGRADER_ROLE);
        bytes memory refusal = refusalOfUpgrade(sender);
        _act(sender, abi.encodeCall(registry.upgradeToAndCall, (next, "")), refusal);
        if (refusal.length == 0) implementation = next;
    }

    function passTime(uint256 seed) external drawing(seed) {
        vm.warp(block.timestamp + 1 + _draw(2 * ADMIN_DELAY));
    }

    // --- drawing ----------------------------------------------------------------------------------

    function _draw(uint256 count) private returns (uint256) {
        _entropy = uint256(keccak256(abi.encode(_entropy)));
        return _entropy % count;
    }

    /// @dev Mostly one who holds `role`, if anyone does.
    function _drawHolder(bytes32 role) private returns (address) {
        uint256 start = _draw(ACTORS);
        if (_draw(8) == 0) return actors[start];
        for (uint256 i = 0; i < ACTORS; ++i) {
            address actor = actors[(start + i) % ACTORS];
            if (holds[role][actor]) return actor;
        }
        return actors[start];
    }

    /// @dev About three of the universe's positions.
    function _drawMask() private returns (uint256 mask) {
        uint8[12] memory all = positions();
        for (uint256 i = 0; i < all.length; ++i) {
            if (_draw(4) == 0) mask |= 1 << all[i];
        }
    }

    /// @dev One to three words of one lane with unspent tickets, as far as there are any.
    function _drawWords() private returns (Planted memory) {
        return _plantWords(_drawIndices(1 + _draw(3), false), 0);
    }

    /// @dev Words of which one thing is wrong: a spent ticket, a word of another lane, or the order, a mask or a root.
    function _drawFlawedWords() private returns (Planted memory planted) {
        uint256 flaw = _draw(6);
        if (flaw == 0) return plant(new uint64[](0), new uint256[](0), new uint256[](0), new uint256[](0));
        if (flaw == 1) return _plantWords(_drawIndices(1 + _draw(3), true), 0);
        if (flaw == 2) return _plantWords(_drawIndices(1 + _draw(3), false), type(uint256).max);

        planted = _plantWords(_drawIndices(2, false), 0);
        uint256 last = planted.words.length - 1;
        if (flaw == 3) {
            (planted.words[0], planted.words[last]) = (planted.words[last], planted.words[0]);
            (planted.leaves[0], planted.leaves[last]) = (planted.leaves[last], planted.leaves[0]);
        }
        if (flaw == 4) planted.words[last].mask = 0;
        if (flaw == 5) planted.words[last].root = 0;
    }

    /// @dev Up to `count` neighbours in the universe, ascending, of one lane or of any.
    function _drawIndices(uint256 count, bool crossesLanes) private returns (uint64[] memory indices) {
        uint64[9] memory universe = wordIndices();
        uint256 first = _draw(2) == 0 ? _draw(2) : _draw(9);
        indices = new uint64[](count);
        for (uint256 i = 0; i < count; ++i) {
            bool isNext =
                first + i < 9 && (crossesLanes || universe[first + i] >> 48 == universe[first] >> 48);
            if (!isNext) {
                assembly {
                    mstore(indices, i)
                }
                return indices;
            }
            indices[i] = universe[first + i];
        }
    }

    /// @dev Every fourth time with leaves that no mask shows, and with tickets that no leaf stands behind.
    /// @param spent Which spent tickets to take, too.
    function _plantWords(uint64[] memory indices, uint256 spent) private returns (Planted memory) {
        uint256[] memory masks = new uint256[](indices.length);
        uint256[] memory hidden = new uint256[](indices.length);
        uint256[] memory burnt = new uint256[](indices.length);
        for (uint256 i = 0; i < indices.length; ++i) {
            uint256 taken = spentMask(indices[i]);
            masks[i] = (_drawMask() & ~taken) | (_drawMask() & taken & spent);
            if (masks[i] == 0) masks[i] = 1 << positions()[_draw(12)];
            if (_draw(4) == 0) hidden[i] = _drawMask() & ~masks[i];
            if (_draw(4) == 0) burnt[i] = _drawMask();
        }
        return plant(indices, masks, hidden, burnt);
    }

    /// @dev Signed by as many confirmers as the lane needs, or more, as far as there are any.
    function _drawApproval(Word[] memory words) private returns (Approval memory approval) {
        uint256 needed = words.length == 0 ? 0 : quorumOf[laneOf(words[0])];
        address[] memory signers = new address[](ACTORS);
        uint256 count;
        for (uint256 i = 0; i < ACTORS; ++i) {
            bool isWanted = count < needed || _draw(3) == 0;
            if (isWanted && holds[CONFIRMER_ROLE][actors[i]]) signers[count++] = actors[i];
        }
        assembly {
            mstore(signers, count)
        }

        approval = Approval(block.timestamp + _draw(2), signers, new bytes[](count), count);
        bytes32 root = words.length == 0 ? bytes32(0) : ReferenceTree.batchRoot(words);
        bytes32 digest = registry.approvalDigest(root, approval.deadline);
        for (uint256 i = 0; i < count; ++i) {
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(_keyOf[signers[i]], digest);
            approval.signatures[i] = abi.encodePacked(r, s, v);
        }
    }

    /// @dev One thing of an approval made wrong, if it has a signer.
    function _flaw(Approval memory approval) private {
        uint256 count = approval.signers.length;
        if (count == 0) return;
        uint256 flaw = _draw(5);
        uint256 at = _draw(count);
        if (flaw == 0) approval.deadline = block.timestamp - 1;
        if (flaw == 1) approval.signatures = new bytes[](count - 1);
        if (flaw == 2) approval.signers[count - 1] = approval.signers[0];
        if (flaw == 3) {
            address other = actors[_draw(ACTORS)];
            if (other != approval.signers[at]) (approval.signers[at], approval.forged) = (other, at);
        }
        if (flaw == 4) {
            approval.signatures[at][40] ^= 0x01;
            approval.forged = at;
        }
    }

    // --- acting -----------------------------------------------------------------------------------

    /// @dev Calls the registry, which answers with `refusal`, or succeeds if that is empty.
    function _act(address sender, bytes memory data, bytes memory refusal)
        private
        returns (bytes memory answer)
    {
        bool success;
        vm.prank(sender);
        (success, answer) = address(registry).call(data);
        if (refusal.length != 0) assertEq(answer, refusal, "refusal");
        assertEq(success, refusal.length == 0, "success");
        ++outcomes[bytes4(data)][bytes4(refusal)];
    }

    function _deploy() private {
        vm.warp(1_750_000_000);
        address[] memory confirmers = new address[](3);
        (confirmers[0], confirmers[1], confirmers[2]) =
        (makeAddr("first"), makeAddr("second"), makeAddr("third"));
        implementation = address(new JobRegistry());
        admin = makeAddr("admin");
        JobRegistry.Setup memory setup = JobRegistry.Setup({
            admin: admin,
            adminDelay: ADMIN_DELAY,
            upgrader: makeAddr("upgrader"),
            revoker: makeAddr("revoker"),
            pauser: makeAddr("pauser"),
            confirmers: confirmers
        });
        registry = JobRegistry(
            address(new ERC1967Proxy(implementation, abi.encodeCall(JobRegistry.initialize, (setup))))
        );

        vm.startPrank(admin);
        registry.setQuorum(1, 2);
        registry.setQuorum(31, 1);
        vm.stopPrank();

        (quorumOf[0], quorumOf[1], quorumOf[31]) = (1, 2, 1);
        holds[ADMIN_ROLE][admin] = true;
        holds[UPGRADER_ROLE][setup.upgrader] = true;
        holds[REVOKER_ROLE][setup.revoker] = true;
        holds[PAUSER_ROLE][setup.pauser] = true;
        for (uint256 i = 0; i < confirmers.length; ++i) {
            holds[CONFIRMER_ROLE][confirmers[i]] = true;
        }
    }
}
