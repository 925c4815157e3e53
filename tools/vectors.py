# noqa: INP001 - a script, not part of a package
"""Writes the test vectors of format 1 from the seal; docs/reference/vectors.md says what they mean.

``tools/vectors.py`` writes the file; ``tools/vectors.py --check`` fails where it differs from what it would write.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import snapshot
from eth_hash.backends.pysha3 import keccak256

from relayer.seal.commitment import Domain, JobConfirmation, leaf, ticket_hex
from relayer.seal.receipt import Receipt
from relayer.seal.tree import BatchTree, Proof, Word, WordTree, seal_batch
from relayer.seal.verify import Outcome, check

TARGET = snapshot.ROOT / "test/contracts/vectors/format1.json"

DOMAIN = Domain(31337, bytes(range(20)))
LAST = (1 << 48) - 1
DENSE = (1 << 256) - 1
ZERO = bytes(32)

Case = dict[str, Any]
Masks = dict[int, int]


class Dice:
    """Numbers that look random and are the same wherever and whenever they are thrown."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._throws = 0

    def bits(self, count: int) -> int:
        """A number of up to `count` bits, of which there are at most 256."""
        self._throws += 1
        return int.from_bytes(keccak256(self._name + self._throws.to_bytes(4))) >> (256 - count)

    def bytes(self, count: int) -> bytes:
        """`count` bytes, at most 32."""
        return self.bits(8 * count).to_bytes(count)


def job_of(ticket: int) -> JobConfirmation:
    """The job that the vectors mean where they give no more than a ticket."""

    def field(name: str) -> bytes:
        return keccak256(ticket.to_bytes(8) + name.encode())

    return JobConfirmation(
        ticket=ticket,
        job_id=field("jobId")[:16],
        input_hash=field("inputHash"),
        output_hash=field("outputHash"),
        completed_at=int.from_bytes(field("completedAt")[:4]),
        salt=field("salt"),
    )


def tickets_of(index: int, mask: int) -> list[int]:
    """The tickets of a word, ascending."""
    return [index << 8 | position for position in range(256) if mask >> position & 1]


def leaves_of(index: int, mask: int) -> dict[int, bytes]:
    """The leaves of a word's jobs, by position."""
    return {ticket & 255: leaf(DOMAIN, job_of(ticket)) for ticket in tickets_of(index, mask)}


# --- leaves -------------------------------------------------------------------------------------


def leaves() -> Iterator[Case]:
    """Jobs with every field at its ends, one bit in each field, and any; in domains at their ends, and any."""
    plain = JobConfirmation(300, bytes(range(16)), b"\1" * 32, b"\2" * 32, 1_700_000_000, b"\3" * 32)
    zero = JobConfirmation(0, bytes(16), ZERO, ZERO, 0, ZERO)
    full = JobConfirmation(2**64 - 1, b"\xff" * 16, b"\xff" * 32, b"\xff" * 32, 2**64 - 1, b"\xff" * 32)
    yield from (leaf_case(DOMAIN, job) for job in (plain, zero, full))
    for chain_id in (1, 2**32, 2**53 + 1, 2**64 - 1):
        yield leaf_case(replace(DOMAIN, chain_id=chain_id), plain)
    for registry in (bytes(19) + b"\xaa", b"\xaa" + bytes(19), b"\xff" * 20):
        yield leaf_case(replace(DOMAIN, registry=registry), plain)
    one_bit: list[dict[str, Any]] = [
        {field: value}
        for field, width in (("job_id", 16), ("input_hash", 32), ("output_hash", 32), ("salt", 32))
        for value in (b"\x80" + bytes(width - 1), bytes(width - 1) + b"\1")
    ]
    one_bit += [{field: value} for field in ("ticket", "completed_at") for value in (1, 1 << 56, 1 << 63)]
    yield from (leaf_case(DOMAIN, replace(zero, **change)) for change in one_bit)
    dice = Dice("leaves")
    for _ in range(16):
        domain = Domain(dice.bits(40) + 1, dice.bytes(20))
        ticket, completed_at = dice.bits(64), dice.bits(64)
        job = JobConfirmation(
            ticket, dice.bytes(16), dice.bytes(32), dice.bytes(32), completed_at, dice.bytes(32)
        )
        yield leaf_case(domain, job)


def leaf_case(domain: Domain, job: JobConfirmation) -> Case:
    """One job in one domain."""
    return {
        "chainId": hex(domain.chain_id),
        "registry": spelled(domain.registry),
        "job": job_json(job),
        "leaf": spelled(leaf(domain, job)),
    }


# --- words --------------------------------------------------------------------------------------


def words() -> Iterator[Case]:
    """A job alone at positions of every height, halves, combs, all and all but one, and any."""
    powers = [1 << height for height in range(8)]
    for position in sorted({*powers, *(power - 1 for power in powers), *(256 - power for power in powers)}):
        yield word_case(position, 1 << position)
    combs = (DENSE // 3, DENSE // 3 << 1, DENSE // 17, DENSE // 0x101)
    halves = ((1 << 128) - 1, DENSE ^ (1 << 128) - 1)
    for index, mask in enumerate((*combs, *halves, DENSE, DENSE ^ 1, DENSE >> 1, DENSE ^ 1 << 77), 1000):
        yield word_case(index, mask)
    dice = Dice("words")
    for _ in range(12):
        yield word_case(dice.bits(53), dice.bits(256))


def word_case(index: int, mask: int) -> Case:
    """The tree of one word."""
    return word_json(Word(index, mask, WordTree(leaves_of(index, mask)).root))


# --- batches ------------------------------------------------------------------------------------


def batches() -> Iterator[Case]:
    """Batches at the ends of words and lanes, of every small count, of the largest, and any."""
    yield batch_case("ticket 0 alone", {0: 1})
    yield batch_case("the last position of a word", {5: 1 << 255})
    yield batch_case("the first ticket of a word", {LAST - 1: 1})
    yield batch_case("the last ticket of lane 0", {LAST: 1 << 255})
    yield batch_case("both ends of lane 0", {0: 1, LAST: 1 << 255})
    yield batch_case("two neighbouring positions", {9: 0b11})
    yield batch_case("a dense word", {9: DENSE})
    yield batch_case("a dense word beside a sparse one", {9: DENSE, 10: 1 << 128})
    yield batch_case("every other position", {9: DENSE // 3, 10: DENSE // 3 << 1})
    for count in range(1, 21):
        yield batch_case(f"{count} words", {100 + n: 1 << 13 * n % 256 for n in range(count)})
    yield batch_case("33 words", {n * n: 1 << n for n in range(33)})
    yield batch_case("512 words, the most", {3 * n: 1 << n % 256 for n in range(512)})
    for lane in range(1, 32):
        yield batch_case(f"the first ticket of lane {lane}", {lane << 48: 1})
    for lane in (1, 31):
        yield batch_case(f"both ends of lane {lane}", {lane << 48: 1, lane << 48 | LAST: 1 << 255})
    dice = Dice("batches")
    for n in range(24):
        lane, count = dice.bits(5), 1 + n % 6
        masks = {lane << 48 | dice.bits(48): dice.bits(256) & dice.bits(256) | 1 for _ in range(count)}
        yield batch_case(f"any {count} words of lane {lane}", masks)


def batch_case(note: str, masks: Masks) -> Case:
    """A batch by masks of words, with the proofs of its first job and its last."""
    seal = seal_batch(
        {
            index << 8 | position: one
            for index, mask in masks.items()
            for position, one in leaves_of(index, mask).items()
        }
    )
    first, last = seal.words[0], seal.words[-1]
    sampled = sorted({tickets_of(first.index, first.mask)[0], tickets_of(last.index, last.mask)[-1]})
    return {
        "note": note,
        "words": [word_json(one) for one in seal.words],
        "root": spelled(seal.root),
        "proven": [proven_json(ticket, seal.proof(ticket)) for ticket in sampled],
    }


# --- what is false, and what is refused -------------------------------------------------------


def forgeries() -> tuple[Case, list[Case]]:
    """A batch with a job proven in it, and false jobs and proofs, each with the code by which the seal refuses it.

    The word in the middle is of no honest making: its tree holds a leaf at position 0, which its mask leaves out, and its
    mask holds position 200, where its tree has no leaf.
    """
    index, mask = 42, 1 << 5 | 1 << 7 | 1 << 200 | 1 << 255
    leaves = leaves_of(index, mask ^ 1 << 200 | 1)
    tree = WordTree(leaves)
    words = [opaque_word(index - 1), Word(index, mask, tree.root), opaque_word(index + 1)]
    batch = BatchTree(words)
    beside, beyond = batch.proof(1)
    true_job, true_proof = job_of(index << 8 | 5), Proof(tree.proof(5), mask, (beside, beyond))

    def false(note: str, job: JobConfirmation = true_job, **parts: Any) -> Case:
        proof = true_proof._replace(**parts)
        verdict = check(Receipt(DOMAIN.chain_id, DOMAIN.registry, batch.root, ZERO, 0, ZERO, job, proof))
        if verdict.outcome is not Outcome.REFUSED:
            raise AssertionError(f"the seal takes the forgery: {note}")
        return {"note": note, "code": verdict.code, "job": job_json(job), "proof": proof_json(proof)}

    job, siblings = true_job, true_proof.word
    other = keccak256(b"other")
    unused = WordTree({**leaves, 200: other}).proof(200)
    forged = {
        "note": "a leaf without its bit, and a bit without its leaf",
        "words": [word_json(one) for one in words],
        "root": spelled(batch.root),
        "proven": [proven_json(true_job.ticket, true_proof)],
    }
    return forged, [
        false("another jobId", replace(job, job_id=other[:16])),
        false("another inputHash", replace(job, input_hash=other)),
        false("another outputHash", replace(job, output_hash=other)),
        false("another completedAt", replace(job, completed_at=job.completed_at + 1)),
        false("another salt", replace(job, salt=other)),
        false("another position of the mask", replace(job, ticket=job.ticket ^ 2)),
        false("another word", replace(job, ticket=job.ticket + 256)),
        false("another lane", replace(job, ticket=job.ticket | 1 << 56)),
        false("a lane that never confirms", replace(job, ticket=job.ticket | 32 << 56)),
        false("a leaf that the mask leaves out", job_of(index << 8), word=tree.proof(0)),
        false("a position without leaf", job_of(index << 8 | 200), word=unused),
        false("the lowest word sibling differs", word=(other, *siblings[1:])),
        false("the highest word sibling differs", word=(*siblings[:-1], other)),
        false("word siblings swapped", word=(siblings[1], siblings[0], *siblings[2:])),
        false("word siblings from the root down", word=siblings[::-1]),
        false("a mask with one job more", mask=mask | 1 << 6),
        false("a mask with one job fewer", mask=mask ^ 1 << 7),
        false("a mask without the job", mask=mask ^ 1 << 5),
        false("a batch sibling differs", batch=(beside, other)),
        false("batch siblings swapped", batch=(beyond, beside)),
        false("a batch sibling is missing", batch=(beside,)),
        false("no batch sibling", batch=()),
        false("a batch sibling too many", batch=(beside, beyond, batch.root)),
    ]


def refusals() -> Iterator[Case]:
    """Lists of words that are no batch, each with the registry's error."""
    lane = 1 << 48
    yield refusal("no words", "WordCountOutOfRange(uint256,uint256)", [])
    ascending = "WordsNotAscending(uint64,uint64)"
    yield refusal("a word twice", ascending, opaque(4, 4))
    yield refusal("descending", ascending, opaque(5, 4))
    yield refusal("out of order in the middle", ascending, opaque(1, 3, 2, 4))
    yield refusal("another lane in the middle", ascending, opaque(1, lane, 3))
    differ = "LanesDiffer(uint64,uint64)"
    yield refusal("two neighbouring lanes", differ, opaque(LAST, lane))
    yield refusal("an open lane and a closed one", differ, opaque(31 * lane, 32 * lane))
    yield refusal("lanes 0 and 256", differ, opaque(1, 256 * lane))
    for number in (32, 255, 256, 257, 2**16 - 1):
        yield refusal(f"lane {number}", "LaneClosed(uint64)", opaque(number * lane))
    yield refusal("a mask of zero", "EmptyMask(uint64)", [*opaque(1), Word(2, 0, keccak256(b"root"))])
    yield refusal("a root of zero", "EmptyRoot(uint64)", [*opaque(1), Word(2, 1, ZERO)])


def refusal(note: str, error: str, words: Sequence[Word]) -> Case:
    """A list of words that the seal refuses too."""
    try:
        BatchTree(words)
    except ValueError:
        return {"note": note, "words": [word_json(one) for one in words], "error": error}
    raise AssertionError(f"the seal takes the batch: {note}")


def opaque(*indices: int) -> list[Word]:
    """Words of which nothing is known but the root."""
    return [opaque_word(index) for index in indices]


def opaque_word(index: int) -> Word:
    """A word of which nothing is known but the root."""
    return Word(index, 1, keccak256(index.to_bytes(8)))


# --- spelling -----------------------------------------------------------------------------------


def spelled(value: bytes) -> str:
    """Bytes as in a receipt."""
    return f"0x{value.hex()}"


def job_json(job: JobConfirmation) -> Case:
    """A job as in a receipt."""
    return {
        "ticket": ticket_hex(job.ticket),
        "jobId": spelled(job.job_id),
        "inputHash": spelled(job.input_hash),
        "outputHash": spelled(job.output_hash),
        "completedAt": hex(job.completed_at),
        "salt": spelled(job.salt),
    }


def proven_json(ticket: int, proof: Proof) -> Case:
    """The leaf and the proof of the job that a ticket stands for."""
    return {
        "ticket": ticket_hex(ticket),
        "leaf": spelled(leaf(DOMAIN, job_of(ticket))),
        "proof": proof_json(proof),
    }


def proof_json(proof: Proof) -> Case:
    """A proof as in a receipt."""
    return {
        "word": [spelled(sibling) for sibling in proof.word],
        "mask": f"0x{proof.mask:064x}",
        "batch": [spelled(sibling) for sibling in proof.batch],
    }


def word_json(one: Word) -> Case:
    """A word of a batch."""
    return {"index": hex(one.index), "mask": f"0x{one.mask:064x}", "root": spelled(one.root)}


def render() -> str:
    """The file: a line a case, so that a diff shows which changed."""

    def line(value: Any) -> str:
        return json.dumps(value, separators=(",", ":"))

    def lines(cases: Iterable[Case]) -> str:
        return "[\n" + ",\n".join(map(line, cases)) + "\n]"

    forged, false = forgeries()
    parts = {
        "format": "1",
        "domain": line({"chainId": hex(DOMAIN.chain_id), "registry": spelled(DOMAIN.registry)}),
        "leaves": lines(leaves()),
        "words": lines(words()),
        "batches": lines(batches()),
        "forged": line(forged),
        "forgeries": lines(false),
        "refusals": lines(refusals()),
    }
    return "{\n" + ",\n".join(f"{line(name)}:{part}" for name, part in parts.items()) + "\n}\n"


if __name__ == "__main__":
    sys.exit(
        snapshot.settle(
            TARGET, render(), "is not what the seal makes: run `make vectors`; a published case never changes"
        )
    )
