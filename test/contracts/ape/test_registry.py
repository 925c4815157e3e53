from collections.abc import Callable
from typing import Any

import ape
import pytest
from ape import chain
from ape.contracts import ContractInstance
from eth_abi.abi import encode
from eth_utils.crypto import keccak

Job = dict[str, Any]
Word = tuple[int, int, bytes]

CRITICAL = 1 << 56
"""The first ticket of lane 1, which needs two of the three `confirmers`."""
DEADLINE = 4_000_000_000


def make_job(ticket: int) -> Job:
    def digest(name: str) -> bytes:
        return keccak(text=f"{name} of {ticket}")

    return {
        "ticket": ticket,
        "jobId": digest("id")[:16],
        "inputHash": digest("input"),
        "outputHash": digest("output"),
        "completedAt": 1_700_000_000,
        "salt": digest("salt"),
    }


def word_levels(leaves: dict[int, bytes]) -> list[list[bytes]]:
    levels = [[leaves.get(position, bytes(32)) for position in range(256)]]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([keccak(below[i] + below[i + 1]) for i in range(0, len(below), 2)])
    return levels


def word_proof(levels: list[list[bytes]], position: int) -> list[bytes]:
    return [levels[level][(position >> level) ^ 1] for level in range(8)]


def word_leaf(word: Word) -> bytes:
    return keccak(encode(["uint64", "uint256", "bytes32"], word))


class Sealed:
    """Two neighbouring words: the first holds `jobs`, the other one job of somebody else."""

    def __init__(self, jobs: list[Job], leaf_of: Callable[[Job], bytes]) -> None:
        index = jobs[0]["ticket"] >> 8
        self.levels = word_levels({job["ticket"] & 255: leaf_of(job) for job in jobs})
        self.mask = sum(1 << (job["ticket"] & 255) for job in jobs)
        self.other: Word = (index + 1, 1, keccak(text="another word"))
        self.words: list[Word] = [(index, self.mask, self.levels[-1][0]), self.other]
        self.root = keccak(b"".join(sorted(map(word_leaf, self.words))))

    def proof(self, job: Job) -> tuple[list[bytes], int, list[bytes]]:
        return word_proof(self.levels, job["ticket"] & 255), self.mask, [word_leaf(self.other)]


def test_leaf_is_the_eip712_digest(registry: ContractInstance, leaf_of: Callable[[Job], bytes]) -> None:
    for ticket in (0, 255, 0x0300, (1 << 56) - 1, (1 << 64) - 1):
        job = make_job(ticket)
        assert bytes(registry.leafOf(job)) == leaf_of(job)


def test_a_confirmed_job_verifies(
    registry: ContractInstance,
    confirmer: Any,
    leaf_of: Callable[[Job], bytes],
) -> None:
    jobs = [make_job(0x0300 + bit) for bit in (0, 7, 255)]
    sealed = Sealed(jobs, leaf_of)

    receipt = registry.confirmBatch(sealed.words, sender=confirmer)

    (event,) = receipt.decode_logs(registry.BatchConfirmed)
    assert bytes(event.root) == sealed.root
    assert (event.submitter, event.lane, event.jobs, event.approvals) == (confirmer.address, 0, 4, 1)
    assert [(index, mask, bytes(root)) for index, mask, root in event.words] == sealed.words

    batch = registry.batch(sealed.root)
    assert (batch.submitter, batch.jobs, batch.approvals, batch.format) == (confirmer.address, 4, 1, 1)
    assert batch.confirmedAt == receipt.timestamp
    assert tuple(registry.word(3)) == (sealed.mask, 0)
    for job in jobs:
        assert registry.verify(job, sealed.proof(job))
        assert registry.isConfirmed(job["ticket"])
        assert not registry.verify({**job, "salt": bytes(32)}, sealed.proof(job))
    assert not registry.isConfirmed(0x0301)


def test_a_ticket_is_confirmed_once(
    registry: ContractInstance,
    confirmer: Any,
    leaf_of: Callable[[Job], bytes],
) -> None:
    sealed = Sealed([make_job(0x0300), make_job(0x0302)], leaf_of)
    registry.confirmBatch(sealed.words, sender=confirmer)

    again = [(3, 0b110, keccak(text="the third and a fresh second"))]
    with ape.reverts(registry.AlreadyConfirmed, error_inputs={"word": 3, "overlap": 0b100}):
        registry.confirmBatch(again, sender=confirmer)
    assert not registry.isConfirmed(0x0301)


def test_pause_stops_confirming_and_not_reading(
    registry: ContractInstance,
    admin: Any,
    confirmer: Any,
    pauser: Any,
    leaf_of: Callable[[Job], bytes],
) -> None:
    job = make_job(0x0300)
    sealed = Sealed([job], leaf_of)
    registry.confirmBatch(sealed.words, sender=confirmer)
    registry.pause(sender=pauser)

    next_word = [(9, 1, keccak(text="later"))]
    with ape.reverts(registry.EnforcedPause):
        registry.confirmBatch(next_word, sender=confirmer)
    assert registry.verify(job, sealed.proof(job))
    assert registry.isConfirmed(job["ticket"])

    with ape.reverts(registry.AccessControlUnauthorizedAccount):
        registry.unpause(sender=pauser)
    registry.unpause(sender=admin)
    registry.confirmBatch(next_word, sender=confirmer)
    assert registry.isConfirmed(0x0900)


def test_only_confirmers_confirm(registry: ContractInstance, admin: Any) -> None:
    with ape.reverts(
        registry.AccessControlUnauthorizedAccount,
        error_inputs={"account": admin.address, "neededRole": registry.CONFIRMER_ROLE()},
    ):
        registry.confirmBatch([(9, 1, keccak(text="a word"))], sender=admin)


@pytest.fixture
def critical(leaf_of: Callable[[Job], bytes]) -> Sealed:
    return Sealed([make_job(CRITICAL + bit) for bit in (0, 255)], leaf_of)


def test_an_approval_is_an_eip712_digest(
    registry: ContractInstance, approval_of: Callable[[bytes, int], bytes]
) -> None:
    for root, deadline in ((bytes(32), 0), (keccak(text="a root"), DEADLINE), (b"\xff" * 32, 2**256 - 1)):
        assert bytes(registry.approvalDigest(root, deadline)) == approval_of(root, deadline)


def test_two_of_three_confirmers_confirm_by_signature(
    registry: ContractInstance,
    confirmers: list[Any],
    outsider: Any,
    critical: Sealed,
    sign: Callable[[Any, bytes, int], bytes],
) -> None:
    for signers in (confirmers[:2], confirmers[::2], confirmers):
        signatures = [sign(signer, critical.root, DEADLINE) for signer in signers]
        with chain.isolate():
            receipt = registry.confirmBatchWithSignatures(
                critical.words, DEADLINE, [signer.address for signer in signers], signatures, sender=outsider
            )

            (event,) = receipt.decode_logs(registry.BatchConfirmed)
            assert bytes(event.root) == critical.root
            assert (event.submitter, event.lane, event.jobs) == (outsider.address, 1, 3)
            assert event.approvals == len(signers)
            assert [(index, mask, bytes(root)) for index, mask, root in event.words] == critical.words
            batch = registry.batch(critical.root)
            assert (batch.submitter, batch.jobs, batch.format) == (outsider.address, 3, 1)
            assert batch.approvals == len(signers)
            job = make_job(CRITICAL)
            assert registry.verify(job, critical.proof(job))


def test_fewer_approvals_than_the_quorum_confirm_nothing(
    registry: ContractInstance,
    confirmers: list[Any],
    outsider: Any,
    critical: Sealed,
    sign: Callable[[Any, bytes, int], bytes],
) -> None:
    signer = confirmers[0]
    signature = sign(signer, critical.root, DEADLINE)
    with ape.reverts(registry.QuorumNotReached, error_inputs={"lane": 1, "approvals": 1, "quorum": 2}):
        registry.confirmBatchWithSignatures(
            critical.words, DEADLINE, [signer.address], [signature], sender=outsider
        )
    with ape.reverts(registry.QuorumNotReached, error_inputs={"lane": 1, "approvals": 1, "quorum": 2}):
        registry.confirmBatch(critical.words, sender=signer)
    assert not registry.isConfirmed(CRITICAL)


def test_a_signature_counts_for_its_batch_and_deadline_only(
    registry: ContractInstance,
    confirmers: list[Any],
    outsider: Any,
    critical: Sealed,
    sign: Callable[[Any, bytes, int], bytes],
) -> None:
    first, second = confirmers[:2]
    true = sign(first, critical.root, DEADLINE)
    for root, deadline in ((keccak(text="another root"), DEADLINE), (critical.root, DEADLINE + 1)):
        with ape.reverts(registry.InvalidSignature, error_inputs={"signer": second.address}):
            registry.confirmBatchWithSignatures(
                critical.words,
                DEADLINE,
                [first.address, second.address],
                [true, sign(second, root, deadline)],
                sender=outsider,
            )
    assert not registry.isConfirmed(CRITICAL)


def test_a_signature_counts_from_confirmers_only(
    registry: ContractInstance,
    confirmers: list[Any],
    outsider: Any,
    critical: Sealed,
    sign: Callable[[Any, bytes, int], bytes],
) -> None:
    signers = sorted([confirmers[0], outsider], key=lambda account: int(account.address, 16))
    signatures = [sign(signer, critical.root, DEADLINE) for signer in signers]
    with ape.reverts(
        registry.AccessControlUnauthorizedAccount,
        error_inputs={"account": outsider.address, "neededRole": registry.CONFIRMER_ROLE()},
    ):
        registry.confirmBatchWithSignatures(
            critical.words, DEADLINE, [signer.address for signer in signers], signatures, sender=outsider
        )
    assert not registry.isConfirmed(CRITICAL)


def test_a_revoked_job_no_longer_verifies_and_stays_spent(
    registry: ContractInstance,
    confirmer: Any,
    revoker: Any,
    leaf_of: Callable[[Job], bytes],
) -> None:
    wrong, right = make_job(0x0300), make_job(0x0301)
    sealed = Sealed([wrong, right], leaf_of)
    registry.confirmBatch(sealed.words, sender=confirmer)
    reason = keccak(text="the report that says why")

    receipt = registry.revoke([(3, 0b1)], reason, sender=revoker)

    (event,) = receipt.decode_logs(registry.JobsRevoked)
    assert (event.revoker, bytes(event.reason)) == (revoker.address, reason)
    assert [tuple(word) for word in event.words] == [(3, 0b1)]
    assert tuple(registry.word(3)) == (0b11, 0b1)
    assert registry.isRevoked(wrong["ticket"])
    assert not registry.isConfirmed(wrong["ticket"])
    assert not registry.verify(wrong, sealed.proof(wrong))
    assert not registry.isRevoked(right["ticket"])
    assert registry.verify(right, sealed.proof(right))
    with ape.reverts(registry.AlreadyConfirmed, error_inputs={"word": 3, "overlap": 0b1}):
        registry.confirmBatch([(3, 0b1, keccak(text="once more"))], sender=confirmer)


def test_only_the_revoker_revokes_and_only_what_is_confirmed(
    registry: ContractInstance,
    admin: Any,
    confirmer: Any,
    revoker: Any,
    leaf_of: Callable[[Job], bytes],
) -> None:
    registry.confirmBatch(Sealed([make_job(0x0300)], leaf_of).words, sender=confirmer)
    for other in (confirmer, admin):
        with ape.reverts(
            registry.AccessControlUnauthorizedAccount,
            error_inputs={"account": other.address, "neededRole": registry.REVOKER_ROLE()},
        ):
            registry.revoke([(3, 0b1)], bytes(32), sender=other)
    with ape.reverts(registry.NotConfirmed, error_inputs={"word": 3, "missing": 0b10}):
        registry.revoke([(3, 0b11)], bytes(32), sender=revoker)
    assert registry.isConfirmed(0x0300)
