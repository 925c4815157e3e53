"""What a receipt proves of itself: every flipped bit that the chain need not be asked about is refused here."""

from dataclasses import replace

import pytest

from relayer.seal.receipt import Receipt, ReceiptError
from relayer.seal.verify import Outcome, Pin, check


def pin_of(receipt: Receipt) -> Pin:
    return Pin(receipt.chain_id, receipt.registry)


def test_a_true_receipt_is_consistent_and_no_more(receipt: Receipt) -> None:
    for pin in (None, Pin(), pin_of(receipt)):
        verdict = check(receipt, pin)
        assert (verdict.outcome, verdict.code) == (Outcome.CONSISTENT, "not_on_chain")


def test_only_chain_and_registry_together_are_a_pin(receipt: Receipt) -> None:
    assert pin_of(receipt).complete
    assert not Pin(chain_id=1).complete
    assert not Pin(registry=bytes(20)).complete


@pytest.mark.parametrize(
    ("pin", "code"),
    [
        (Pin(chain_id=1), "chain_id_mismatch"),
        (Pin(registry=bytes(20)), "registry_mismatch"),
        (Pin(31337, bytes(20)), "registry_mismatch"),
    ],
)
def test_what_is_pinned_must_match(receipt: Receipt, pin: Pin, code: str) -> None:
    verdict = check(receipt, pin)
    assert (verdict.outcome, verdict.code) == (Outcome.REFUSED, code)


def test_a_receipt_moved_to_another_registry_is_refused(receipt: Receipt) -> None:
    assert check(replace(receipt, registry=bytes(20))).code == "root_mismatch"
    assert check(replace(receipt, chain_id=1)).code == "root_mismatch"


def test_a_leaf_outside_the_mask_is_refused(receipt: Receipt) -> None:
    job = replace(receipt.job, ticket=receipt.job.ticket + 1)
    assert check(replace(receipt, job=job)).code == "bit_not_in_mask"


def test_a_lane_that_never_confirms_is_refused(receipt: Receipt) -> None:
    job = replace(receipt.job, ticket=32 << 56 | receipt.job.ticket)
    assert check(replace(receipt, job=job)).code == "lane_unknown"


def test_every_flipped_bit_is_refused_or_changes_a_coordinate_only(receipt: Receipt) -> None:
    data = receipt.to_json()
    for place in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        try:
            changed = Receipt.from_json(bytes(flipped))
        except ReceiptError:
            continue
        if check(changed, pin_of(receipt)).outcome is not Outcome.REFUSED:
            assert changed != receipt
            assert receipt == replace(
                changed,
                transaction_hash=receipt.transaction_hash,
                block_number=receipt.block_number,
                block_hash=receipt.block_hash,
            )
