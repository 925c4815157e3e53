"""Whatever batch the seal and the contract are both given, they agree on it to the last bit."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

import pytest
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from relayer.chain.registry import BatchConfirmed, BatchInfo, RegistryClient
from relayer.chain.verifier import VERIFY_ARGUMENTS, verify_call
from relayer.local import deploy
from relayer.local.anvil import CHAIN_ID
from relayer.seal.commitment import JobConfirmation, bit, leaf
from relayer.seal.receipt import Receipt
from relayer.seal.tree import (
    MAX_BATCH_PROOF,
    MAX_LANE,
    MAX_WORDS,
    BatchTree,
    Proof,
    Word,
    WordTree,
    seal_batch,
)
from relayer.seal.verify import Outcome, check

from .conftest import Contract, call_of, thoroughly

ADMIN = bytes.fromhex(deploy.ADMIN[2:])
LAST = (1 << 48) - 1
DENSE = (1 << 256) - 1


class Plan(NamedTuple):
    """A batch to be made: where its jobs are, as masks by word within the lane, and what their content follows from."""

    lane: int
    masks: dict[int, int]
    seed: int = 0

    def jobs(self) -> dict[int, JobConfirmation]:
        """The jobs by ticket, in ascending order."""
        return {
            ticket: self._job(ticket)
            for offset, mask in sorted(self.masks.items())
            for ticket in tickets_of(self.lane << 48 | offset, mask)
        }

    def _job(self, ticket: int) -> JobConfirmation:
        def digest(name: bytes) -> bytes:
            return sha256(self.seed.to_bytes(8) + ticket.to_bytes(8) + name).digest()

        return JobConfirmation(
            ticket=ticket,
            job_id=digest(b"id")[:16],
            input_hash=digest(b"input"),
            output_hash=digest(b"output"),
            completed_at=int.from_bytes(digest(b"time")[:8]),
            salt=digest(b"salt"),
        )


def tickets_of(index: int, mask: int) -> list[int]:
    return [index << 8 | position for position in range(256) if mask >> position & 1]


def mask_of(positions: set[int]) -> int:
    return sum(1 << position for position in positions)


def run(first: int, stride: int, count: int, mask: int) -> dict[int, int]:
    """`count` words at regular distances, each with `mask` turned by as many positions as it comes after the first."""
    return {first + stride * n: (mask << n % 256 | mask >> 256 - n % 256) & DENSE for n in range(count)}


few = st.sets(st.integers(0, 255), min_size=1, max_size=5).map(mask_of)
masks = few | few.map(lambda gaps: DENSE ^ gaps) | st.integers(1, DENSE)
offsets = st.integers(0, LAST) | st.sampled_from([0, 1, LAST - 1, LAST])
plans = st.builds(
    Plan,
    lane=st.integers(0, MAX_LANE),
    masks=st.dictionaries(offsets, masks, min_size=1, max_size=20)
    | st.builds(run, st.integers(0, 1 << 40), st.integers(1, 1 << 30), st.integers(1, MAX_WORDS), few),
    seed=st.integers(0, 2**64 - 1),
)

EDGES = {
    "ticket 0": Plan(0, {0: 1}),
    "the last position of a word": Plan(0, {5: 1 << 255}),
    "the last ticket of the lane": Plan(0, {LAST: 1 << 255}),
    "the last word of the lane, dense": Plan(0, {LAST: DENSE}),
    "both ends of the lane": Plan(0, {0: 1, LAST: 1 << 255}),
    "a dense word beside a sparse one": Plan(0, {8: DENSE, 9: 1 << 128}),
    "every other position": Plan(0, {8: DENSE // 3, 9: DENSE // 3 << 1}),
    "512 words": Plan(0, run(1, 3, 512, 1)),
    "512 dense words": Plan(0, run(LAST - 511, 1, 512, DENSE)),
    **{f"{count} words": Plan(0, run(100, 1, count, 0b101)) for count in range(1, 21)},
    **{f"both ends of lane {lane}": Plan(lane, {0: 1, LAST: 1 << 255}) for lane in range(1, MAX_LANE + 1)},
}


def turned(value: bytes, flip: int) -> bytes:
    """The value with one bit turned, counted from the lowest and around its width."""
    return (int.from_bytes(value) ^ 1 << flip % (8 * len(value))).to_bytes(len(value))


def altered(receipt: Receipt, flip: int) -> Iterator[Receipt]:
    """The receipt with a bit turned in each field, sibling and the mask; without each batch sibling, and with one more."""
    job, proof = receipt.job, receipt.proof
    yield replace(receipt, job=replace(job, ticket=job.ticket ^ 1 << flip % 64))
    yield replace(receipt, job=replace(job, job_id=turned(job.job_id, flip)))
    yield replace(receipt, job=replace(job, input_hash=turned(job.input_hash, flip)))
    yield replace(receipt, job=replace(job, output_hash=turned(job.output_hash, flip)))
    yield replace(receipt, job=replace(job, completed_at=job.completed_at ^ 1 << flip % 64))
    yield replace(receipt, job=replace(job, salt=turned(job.salt, flip)))
    yield replace(receipt, proof=proof._replace(mask=proof.mask ^ 1 << flip))
    for at, sibling in enumerate(proof.word):
        siblings = (*proof.word[:at], turned(sibling, flip), *proof.word[at + 1 :])
        yield replace(receipt, proof=proof._replace(word=siblings))
    for at, sibling in enumerate(proof.batch):
        siblings = (*proof.batch[:at], turned(sibling, flip), *proof.batch[at + 1 :])
        yield replace(receipt, proof=proof._replace(batch=siblings))
        yield replace(receipt, proof=proof._replace(batch=(*proof.batch[:at], *proof.batch[at + 1 :])))
    if len(proof.batch) < MAX_BATCH_PROOF:
        yield replace(receipt, proof=proof._replace(batch=(*proof.batch, receipt.batch_root)))


async def confirm(contract: Contract, words: Sequence[Word], root: bytes) -> dict[str, Any]:
    """The receipt of the batch's transaction, once the contract has returned, announced and kept what it should."""
    call = RegistryClient.encode_confirm_batch(words)
    assert await contract.ask([call]) == [root]
    mined = await contract.send(call)

    jobs = sum(one.mask.bit_count() for one in words)
    (log,) = mined["logs"]
    event = RegistryClient.decode_batch_confirmed(
        [bytes.fromhex(topic[2:]) for topic in log["topics"]], bytes.fromhex(log["data"][2:])
    )
    assert event == BatchConfirmed(root, ADMIN, words[0].index >> 48, jobs, 1, tuple(words))
    confirmed_at = datetime.fromtimestamp(int(log["blockTimestamp"], 16), UTC)
    assert await contract.client.batch(root) == BatchInfo(ADMIN, confirmed_at, jobs, 1, 1)
    spent = await contract.ask([call_of("word", ["uint64"], one.index) for one in words])
    assert spent == [one.mask.to_bytes(32) + bytes(32) for one in words]
    return mined


def receipt_of(
    contract: Contract, mined: dict[str, Any], root: bytes, job: JobConfirmation, proof: Proof
) -> Receipt:
    return Receipt(
        chain_id=CHAIN_ID,
        registry=contract.domain.registry,
        batch_root=root,
        transaction_hash=bytes.fromhex(mined["transactionHash"][2:]),
        block_number=int(mined["blockNumber"], 16),
        block_hash=bytes.fromhex(mined["blockHash"][2:]),
        job=job,
        proof=proof,
    )


async def judge(contract: Contract, receipts: Sequence[Receipt]) -> list[bool]:
    """Which of the receipts are true: the seal and the contract are of one opinion."""
    verdicts = [check(receipt, contract.pin).outcome is Outcome.CONSISTENT for receipt in receipts]
    answers = await contract.ask([verify_call(receipt) for receipt in receipts])
    assert answers == [verdict.to_bytes(32) for verdict in verdicts]
    return verdicts


async def agree(contract: Contract, plan: Plan, pick: int, flip: int) -> None:
    """Seal the batch, confirm it, and look closely at its first job, its last, and the one picked."""
    jobs = plan.jobs()
    seal = seal_batch({ticket: leaf(contract.domain, job) for ticket, job in jobs.items()})
    tickets = list(jobs)
    async with contract.undone():
        mined = await confirm(contract, seal.words, seal.root)
        for ticket in {tickets[0], tickets[-1], tickets[pick % len(tickets)]}:
            receipt = receipt_of(contract, mined, seal.root, jobs[ticket], seal.proof(ticket))
            others = list(altered(receipt, flip))
            assert await judge(contract, [receipt, *others]) == [True, *[False] * len(others)]


@thoroughly
@given(
    jobs=st.lists(
        st.builds(
            JobConfirmation,
            ticket=st.integers(0, 2**64 - 1),
            job_id=st.binary(min_size=16, max_size=16),
            input_hash=st.binary(min_size=32, max_size=32),
            output_hash=st.binary(min_size=32, max_size=32),
            completed_at=st.integers(0, 2**64 - 1),
            salt=st.binary(min_size=32, max_size=32),
        ),
        min_size=1,
        max_size=20,
    )
)
async def test_leaves_are_the_contract_s(contract: Contract, jobs: list[JobConfirmation]) -> None:
    calls = [call_of("leafOf", VERIFY_ARGUMENTS[:1], astuple(job)) for job in jobs]
    assert await contract.ask(calls) == [leaf(contract.domain, job) for job in jobs]


@thoroughly
@given(plan=plans, pick=st.integers(0, 2**16), flip=st.integers(0, 255))
async def test_any_batch_is_the_same_to_both(contract: Contract, plan: Plan, pick: int, flip: int) -> None:
    await agree(contract, plan, pick, flip)


@pytest.mark.parametrize("plan", EDGES.values(), ids=EDGES)
async def test_a_batch_at_an_edge_is_the_same_to_both(contract: Contract, plan: Plan) -> None:
    await agree(contract, plan, pick=1, flip=0)


@thoroughly
@given(leaves=few, mask=masks, beside=st.booleans(), seed=st.integers(0, 2**64 - 1))
async def test_a_leaf_outside_the_mask_is_false_to_both(
    contract: Contract, leaves: int, mask: int, beside: bool, seed: int
) -> None:
    jobs = Plan(0, {7: leaves}, seed).jobs()
    tree = WordTree({bit(ticket): leaf(contract.domain, job) for ticket, job in jobs.items()})
    words = [Word(7, mask, tree.root), Word(8, 1, keccak(b"another"))][: 1 + beside]
    batch = BatchTree(words)
    async with contract.undone():
        mined = await confirm(contract, words, batch.root)
        receipts = [
            receipt_of(contract, mined, batch.root, job, Proof(tree.proof(bit(ticket)), mask, batch.proof(0)))
            for ticket, job in jobs.items()
        ]
        assert await judge(contract, receipts) == [mask >> bit(ticket) & 1 == 1 for ticket in jobs]
