// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {IJobRegistry, Revocation, Word} from "contracts/interfaces/IJobRegistry.sol";

/// @title What a registry must hold, and what it must answer
/// @notice Kept ticket by ticket, lane by lane and account by account, as the interface tells it, without masks, packed
/// words or code of the registry. The `refusal…` functions give the exact revert data of a call, empty for one that
/// succeeds; the order of their lines is the order in which the registry looks.
abstract contract RegistryModel {
    struct KnownBatch {
        bytes32 root;
        address submitter;
        uint256 confirmedAt;
        uint256 jobs;
        uint256 approvals;
        uint256 quorum;
    }

    /// @param deadline The last second at which the batch may be confirmed.
    /// @param forged Which of the signatures is not its signer's; one beyond the last: none.
    struct Approval {
        uint256 deadline;
        address[] signers;
        bytes[] signatures;
        uint256 forged;
    }

    bytes32 internal constant ADMIN_ROLE = 0;
    bytes32 internal constant CONFIRMER_ROLE = keccak256("CONFIRMER_ROLE");
    bytes32 internal constant PAUSER_ROLE = keccak256("PAUSER_ROLE");
    bytes32 internal constant REVOKER_ROLE = keccak256("REVOKER_ROLE");
    bytes32 internal constant UPGRADER_ROLE = keccak256("UPGRADER_ROLE");
    uint48 internal constant ADMIN_DELAY = 1 days;

    mapping(uint256 ticket => bool) public isSpent;
    mapping(uint256 ticket => bool) public isRevoked;
    mapping(uint256 lane => uint8) public quorumOf;
    mapping(bytes32 role => mapping(address account => bool)) public holds;
    KnownBatch[] internal knownBatches;
    bool public isPaused;
    address public admin;
    address public nextAdmin;
    /// @notice After this second the next admin may accept; 0: there is no transfer.
    uint48 public adminSchedule;
    address public implementation;

    // --- the universe -----------------------------------------------------------------------------

    /// @notice The words that are played with: edges of lanes that can open, and lanes that look like them in 8 bits.
    function wordIndices() public pure returns (uint64[9] memory) {
        return [0, 1, (1 << 48) - 1, 1 << 48, (1 << 48) + 5, 31 << 48, (32 << 48) - 1, 32 << 48, 1 << 56];
    }

    /// @notice The positions of a word that are played with.
    function positions() public pure returns (uint8[12] memory) {
        return [0, 1, 2, 3, 31, 64, 127, 128, 129, 200, 254, 255];
    }

    function roles() public pure returns (bytes32[5] memory) {
        return [ADMIN_ROLE, CONFIRMER_ROLE, PAUSER_ROLE, REVOKER_ROLE, UPGRADER_ROLE];
    }

    /// @dev Wider than a ticket, since the index of a word can be too.
    function ticketAt(uint64 index, uint256 position) internal pure returns (uint256) {
        return uint256(index) * 256 + position;
    }

    function laneOf(Word memory word) internal pure returns (uint64) {
        return word.index / 2 ** 48;
    }

    /// @notice The spent tickets of a word as a mask.
    function spentMask(uint64 index) public view returns (uint256) {
        return _maskOf(isSpent, index);
    }

    /// @notice The revoked tickets of a word as a mask.
    function revokedMask(uint64 index) public view returns (uint256) {
        return _maskOf(isRevoked, index);
    }

    function _maskOf(mapping(uint256 ticket => bool) storage isSet, uint64 index)
        private
        view
        returns (uint256 mask)
    {
        uint8[12] memory all = positions();
        for (uint256 i = 0; i < all.length; ++i) {
            if (isSet[ticketAt(index, all[i])]) mask += 1 << all[i];
        }
    }

    function batches() external view returns (KnownBatch[] memory) {
        return knownBatches;
    }

    // --- confirming -------------------------------------------------------------------------------

    function refusalOfConfirm(address sender, Word[] memory words) internal view returns (bytes memory) {
        if (isPaused) return _paused();
        if (!holds[CONFIRMER_ROLE][sender]) return _unauthorized(sender, CONFIRMER_ROLE);
        return _refusalOfWords(words, 1);
    }

    function refusalOfSigned(Word[] memory words, Approval memory approval)
        internal
        view
        returns (bytes memory)
    {
        if (isPaused) return _paused();
        if (block.timestamp > approval.deadline) {
            return abi.encodeWithSelector(IJobRegistry.DeadlinePassed.selector, approval.deadline);
        }
        bytes memory refusal = _refusalOfWords(words, approval.signers.length);
        return refusal.length != 0 ? refusal : _refusalOfSigners(approval);
    }

    function _refusalOfWords(Word[] memory words, uint256 approvals) private view returns (bytes memory) {
        if (words.length == 0) {
            return abi.encodeWithSelector(IJobRegistry.WordCountOutOfRange.selector, 0, 512);
        }
        uint64 lane = laneOf(words[0]);
        uint64 last = laneOf(words[words.length - 1]);
        if (lane != last) return abi.encodeWithSelector(IJobRegistry.LanesDiffer.selector, lane, last);
        uint8 needed = quorumOf[lane];
        if (needed == 0) return abi.encodeWithSelector(IJobRegistry.LaneClosed.selector, lane);
        if (approvals < needed) {
            return abi.encodeWithSelector(IJobRegistry.QuorumNotReached.selector, lane, approvals, needed);
        }
        for (uint256 i = 0; i < words.length; ++i) {
            uint64 index = words[i].index;
            if (i > 0 && words[i - 1].index >= index) {
                return
                    abi.encodeWithSelector(IJobRegistry.WordsNotAscending.selector, words[i - 1].index, index);
            }
            if (words[i].mask == 0) return abi.encodeWithSelector(IJobRegistry.EmptyMask.selector, index);
            if (words[i].root == 0) return abi.encodeWithSelector(IJobRegistry.EmptyRoot.selector, index);
            uint256 overlap = words[i].mask & spentMask(index);
            if (overlap != 0) {
                return abi.encodeWithSelector(IJobRegistry.AlreadyConfirmed.selector, index, overlap);
            }
        }
        return "";
    }

    function _refusalOfSigners(Approval memory approval) private view returns (bytes memory) {
        (address[] memory signers, uint256 signatures) = (approval.signers, approval.signatures.length);
        if (signers.length != signatures) {
            return
                abi.encodeWithSelector(
                    IJobRegistry.SignatureCountMismatch.selector, signers.length, signatures
                );
        }
        for (uint256 i = 0; i < signers.length; ++i) {
            address previous = i == 0 ? address(0) : signers[i - 1];
            if (signers[i] <= previous) {
                return abi.encodeWithSelector(IJobRegistry.SignersNotAscending.selector, previous, signers[i]);
            }
            if (!holds[CONFIRMER_ROLE][signers[i]]) return _unauthorized(signers[i], CONFIRMER_ROLE);
            if (i == approval.forged) {
                return abi.encodeWithSelector(IJobRegistry.InvalidSignature.selector, signers[i]);
            }
        }
        return "";
    }

    function noteConfirmed(bytes32 root, address submitter, Word[] memory words, uint256 approvals) internal {
        uint256 jobs;
        for (uint256 i = 0; i < words.length; ++i) {
            for (uint256 bit = 0; bit < 256; ++bit) {
                if (words[i].mask / 2 ** bit % 2 == 0) continue;
                isSpent[ticketAt(words[i].index, bit)] = true;
                ++jobs;
            }
        }
        uint256 quorum = quorumOf[laneOf(words[0])];
        knownBatches.push(KnownBatch(root, submitter, block.timestamp, jobs, approvals, quorum));
    }

    // --- revoking ---------------------------------------------------------------------------------

    function refusalOfRevoke(address sender, Revocation[] memory words) internal view returns (bytes memory) {
        if (!holds[REVOKER_ROLE][sender]) return _unauthorized(sender, REVOKER_ROLE);
        if (words.length == 0) {
            return abi.encodeWithSelector(IJobRegistry.WordCountOutOfRange.selector, 0, 512);
        }
        for (uint256 i = 0; i < words.length; ++i) {
            (uint64 index, uint256 mask) = (words[i].index, words[i].mask);
            if (mask == 0) return abi.encodeWithSelector(IJobRegistry.EmptyMask.selector, index);
            uint256 missing = mask - (mask & spentMask(index));
            if (missing != 0) {
                return abi.encodeWithSelector(IJobRegistry.NotConfirmed.selector, index, missing);
            }
        }
        return "";
    }

    function noteRevoked(Revocation[] memory words) internal {
        for (uint256 i = 0; i < words.length; ++i) {
            for (uint256 bit = 0; bit < 256; ++bit) {
                if (words[i].mask / 2 ** bit % 2 == 1) isRevoked[ticketAt(words[i].index, bit)] = true;
            }
        }
    }

    // --- administration ---------------------------------------------------------------------------

    function refusalOfSetQuorum(address sender, uint8 lane) internal view returns (bytes memory) {
        if (!holds[ADMIN_ROLE][sender]) return _unauthorized(sender, ADMIN_ROLE);
        if (lane == 0 || lane > 31) {
            return abi.encodeWithSelector(IJobRegistry.LaneWithoutQuorum.selector, lane);
        }
        return "";
    }

    function refusalOfPause(address sender) internal view returns (bytes memory) {
        if (!holds[PAUSER_ROLE][sender]) return _unauthorized(sender, PAUSER_ROLE);
        return isPaused ? _paused() : bytes("");
    }

    function refusalOfUnpause(address sender) internal view returns (bytes memory) {
        if (!holds[ADMIN_ROLE][sender]) return _unauthorized(sender, ADMIN_ROLE);
        return isPaused ? bytes("") : abi.encodeWithSelector(Pausable.ExpectedPause.selector);
    }

    function refusalOfUpgrade(address sender) internal view returns (bytes memory) {
        return holds[UPGRADER_ROLE][sender] ? bytes("") : _unauthorized(sender, UPGRADER_ROLE);
    }

    /// @dev The same for giving and for taking.
    function refusalOfRoleChange(address sender, bytes32 role) internal view returns (bytes memory) {
        if (role == ADMIN_ROLE) {
            return abi.encodeWithSelector(
                IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminRules.selector
            );
        }
        bytes32 ruling = role == UPGRADER_ROLE ? UPGRADER_ROLE : ADMIN_ROLE;
        return holds[ruling][sender] ? bytes("") : _unauthorized(sender, ruling);
    }

    function refusalOfRenounce(address sender, bytes32 role, address account)
        internal
        view
        returns (bytes memory)
    {
        bool mayAdminGo = nextAdmin == address(0) && _isAdminScheduleOver();
        if (role == ADMIN_ROLE && account == admin && !mayAdminGo) return _delayed();
        if (sender != account) {
            return abi.encodeWithSelector(IAccessControl.AccessControlBadConfirmation.selector);
        }
        return "";
    }

    function refusalOfHandOver(address sender) internal view returns (bytes memory) {
        return holds[ADMIN_ROLE][sender] ? bytes("") : _unauthorized(sender, ADMIN_ROLE);
    }

    function refusalOfAccept(address sender) internal view returns (bytes memory) {
        if (sender != nextAdmin) {
            return abi.encodeWithSelector(
                IAccessControlDefaultAdminRules.AccessControlInvalidDefaultAdmin.selector, sender
            );
        }
        return _isAdminScheduleOver() ? bytes("") : _delayed();
    }

    function _isAdminScheduleOver() private view returns (bool) {
        return adminSchedule != 0 && block.timestamp > adminSchedule;
    }

    function _delayed() private view returns (bytes memory) {
        return abi.encodeWithSelector(
            IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminDelay.selector, adminSchedule
        );
    }

    function _paused() private pure returns (bytes memory) {
        return abi.encodeWithSelector(Pausable.EnforcedPause.selector);
    }

    function _unauthorized(address account, bytes32 role) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, account, role);
    }
}
