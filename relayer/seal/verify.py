"""Checking a receipt by computation alone: what it proves of itself, and against what the verifier has pinned."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from relayer.seal.commitment import Domain, bit, lane, leaf, ticket_hex, word
from relayer.seal.receipt import Receipt
from relayer.seal.tree import MAX_LANE, Word, batch_leaf, batch_root, word_root


class Outcome(StrEnum):
    """What a check came to."""

    VALID = "valid"
    """Pinned, and confirmed by the chain."""
    CONSISTENT = "consistent"
    """Nothing speaks against the receipt, but it was not pinned, or the chain was not asked."""
    REFUSED = "refused"
    """The receipt is false, names another registry or chain, or is not (or no longer) confirmed."""
    UNCHECKED = "unchecked"
    """The chain could not be asked; the receipt may be right or wrong."""


Code = Literal[
    # valid
    "confirmed",
    # consistent
    "not_on_chain",
    "not_pinned",
    # refused by the receipt itself
    "malformed",
    "chain_id_mismatch",
    "registry_mismatch",
    "lane_unknown",
    "bit_not_in_mask",
    "root_mismatch",
    # refused by the chain
    "no_registry",
    "not_confirmed",
    "revoked",
    "transaction_unknown",
    "transaction_failed",
    "block_mismatch",
    "not_canonical",
    "not_final",
    "event_missing",
    # unchecked
    "rpc_unreachable",
    "rpc_answer",
    "wrong_chain",
    "finalized_unknown",
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a check, a stable code for programs, and a sentence for people."""

    outcome: Outcome
    code: Code
    sentence: str


@dataclass(frozen=True, slots=True)
class Pin:
    """What the verifier knows from elsewhere than the receipt: chain id and registry address (20 bytes).

    Either may be missing; what is given must match, and only both together make a receipt valid.
    """

    chain_id: int | None = None
    registry: bytes | None = None

    @property
    def complete(self) -> bool:
        """Whether chain and registry are both known, so that nothing is taken from the receipt on trust."""
        return self.chain_id is not None and self.registry is not None


def check(receipt: Receipt, pin: Pin | None = None) -> Verdict:
    """Recompute leaf, word root and batch root of `receipt` and compare them, and its names, with `pin`.

    The answer is CONSISTENT or REFUSED, never VALID: that the root was ever confirmed only the chain can say, and the
    transaction and block that the receipt names stand outside the proof.
    """
    pin = pin or Pin()
    ticket = receipt.job.ticket
    if pin.chain_id not in (None, receipt.chain_id):
        return refused(
            "chain_id_mismatch",
            f"the receipt names chain {receipt.chain_id}, the pinned one is {pin.chain_id}",
        )
    if pin.registry is not None and pin.registry != receipt.registry:
        return refused(
            "registry_mismatch",
            f"the receipt names registry 0x{receipt.registry.hex()}, the pinned one is 0x{pin.registry.hex()}",
        )
    if lane(ticket) > MAX_LANE:
        return refused(
            "lane_unknown", f"ticket {ticket_hex(ticket)} lies in lane {lane(ticket)}, which never confirms"
        )
    if not receipt.proof.mask >> bit(ticket) & 1:
        return refused(
            "bit_not_in_mask", f"the mask leaves out bit {bit(ticket)} of ticket {ticket_hex(ticket)}"
        )
    if proven_root(receipt) != receipt.batch_root:
        return refused("root_mismatch", "job and proof do not lead to the batch root that the receipt names")
    return Verdict(
        Outcome.CONSISTENT, "not_on_chain", "job and proof lead to the batch root; the chain was not asked"
    )


def proven_root(receipt: Receipt) -> bytes:
    """The batch root (32 bytes) that the job of `receipt` and its proof lead to, under the domain it names."""
    job, proof = receipt.job, receipt.proof
    root = word_root(leaf(Domain(receipt.chain_id, receipt.registry), job), bit(job.ticket), proof.word)
    return batch_root(batch_leaf(Word(word(job.ticket), proof.mask, root)), proof.batch)


def refused(code: Code, sentence: str) -> Verdict:
    """A verdict against the receipt."""
    return Verdict(Outcome.REFUSED, code, sentence)
