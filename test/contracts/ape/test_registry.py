from collections.abc import Callable
from typing import Any

import ape
from ape.contracts import ContractInstance
from eth_abi.abi import encode
from eth_utils.crypto import keccak

Job = dict[str, Any]
Word = tuple[int, int, bytes]


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
    """Two words, 3 and 4, of which word 3 holds `jobs` and word 4 one job of somebody else."""

    def __init__(self, jobs: list[Job], leaf_of: Callable[[Job], bytes]) -> None:
        self.levels = word_levels({job["ticket"] & 255: leaf_of(job) for job in jobs})
        self.mask = sum(1 << (job["ticket"] & 255) for job in jobs)
        self.other: Word = (4, 1, keccak(text="another word"))
        self.words: list[Word] = [(3, self.mask, self.levels[-1][0]), self.other]
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
