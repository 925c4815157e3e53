"""Leaves against eth_account's EIP-712, content hashes against their definition, and the widths of every field."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from eth_account.messages import _hash_eip191_message, encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from relayer.seal.commitment import (
    Domain,
    JobConfirmation,
    JsonError,
    bit,
    canonical_json,
    input_hash,
    lane,
    leaf,
    ticket_hex,
    word,
)

TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "JobConfirmation": [
        {"name": "ticket", "type": "uint64"},
        {"name": "jobId", "type": "bytes16"},
        {"name": "inputHash", "type": "bytes32"},
        {"name": "outputHash", "type": "bytes32"},
        {"name": "completedAt", "type": "uint64"},
        {"name": "salt", "type": "bytes32"},
    ],
}
DOMAIN = Domain(31337, bytes(range(20)))
JOB = JobConfirmation(
    ticket=300,
    job_id=bytes(range(16)),
    input_hash=bytes([1]) * 32,
    output_hash=bytes([2]) * 32,
    completed_at=1_700_000_000,
    salt=bytes([3]) * 32,
)

uint64 = st.integers(0, 2**64 - 1)


def bytes_of(width: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=width, max_size=width)


def digest_of_eth_account(domain: Domain, job: JobConfirmation) -> bytes:
    message: dict[str, Any] = {
        "types": TYPES,
        "primaryType": "JobConfirmation",
        "domain": {
            "name": "JobRegistry",
            "version": "1",
            "chainId": domain.chain_id,
            "verifyingContract": "0x" + domain.registry.hex(),
        },
        "message": {
            "ticket": job.ticket,
            "jobId": job.job_id,
            "inputHash": job.input_hash,
            "outputHash": job.output_hash,
            "completedAt": job.completed_at,
            "salt": job.salt,
        },
    }
    return bytes(_hash_eip191_message(encode_typed_data(full_message=message)))


@given(
    domain=st.builds(Domain, chain_id=st.integers(1, 2**64 - 1), registry=bytes_of(20)),
    job=st.builds(
        JobConfirmation,
        ticket=uint64,
        job_id=bytes_of(16),
        input_hash=bytes_of(32),
        output_hash=bytes_of(32),
        completed_at=uint64,
        salt=bytes_of(32),
    ),
)
def test_a_leaf_is_the_eip_712_digest(domain: Domain, job: JobConfirmation) -> None:
    assert leaf(domain, job) == digest_of_eth_account(domain, job)


def test_the_published_vector() -> None:
    assert leaf(DOMAIN, JOB).hex() == "da8df5fd95a9e946b94f72dee1d0d4fe0343a676c9510945aa91fc954beb0ad5"


def test_every_field_and_the_domain_change_the_leaf() -> None:
    changed = [
        leaf(DOMAIN, replace(JOB, ticket=301)),
        leaf(DOMAIN, replace(JOB, job_id=bytes(16))),
        leaf(DOMAIN, replace(JOB, input_hash=bytes(32))),
        leaf(DOMAIN, replace(JOB, output_hash=bytes(32))),
        leaf(DOMAIN, replace(JOB, completed_at=0)),
        leaf(DOMAIN, replace(JOB, salt=bytes(32))),
        leaf(replace(DOMAIN, chain_id=1), JOB),
        leaf(replace(DOMAIN, registry=bytes(20)), JOB),
    ]
    assert len({leaf(DOMAIN, JOB), *changed}) == 9


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ticket", -1),
        ("ticket", 2**64),
        ("ticket", True),
        ("job_id", bytes(15)),
        ("input_hash", bytes(33)),
        ("output_hash", "00" * 16),
        ("completed_at", 2**64),
        ("completed_at", 1.5),
        ("salt", b""),
    ],
)
def test_a_field_of_the_wrong_width_is_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        replace(JOB, **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("field", "value"), [("chain_id", 0), ("chain_id", 2**64), ("registry", bytes(32))])
def test_a_domain_of_the_wrong_width_is_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        replace(DOMAIN, **{field: value})  # type: ignore[arg-type]


@given(ticket=uint64)
def test_a_ticket_is_lane_word_and_bit(ticket: int) -> None:
    assert word(ticket) * 256 + bit(ticket) == ticket
    assert word(ticket) >> 48 == lane(ticket) < 256
    assert len(ticket_hex(ticket)) == 18
    assert int(ticket_hex(ticket), 16) == ticket


def test_the_input_hash_does_not_depend_on_spelling() -> None:
    canonical = '{"input":{"a":[1,0.5],"b":"é"},"kind":"digest"}'
    expected = hashlib.sha256(canonical.encode()).digest()
    assert input_hash("digest", {"b": "é", "a": [1.0, 5e-1]}) == expected
    assert input_hash("other", {"b": "é", "a": [1.0, 5e-1]}) != expected


@given(kind=st.text(st.characters(exclude_categories=["Cs"])), value=st.text('ab\\"{},:é'))
def test_the_input_hash_is_that_of_both_as_one_object(kind: str, value: str) -> None:
    whole = canonical_json({"kind": kind, "input": {value: [value]}})
    assert input_hash(kind, {value: [value]}) == hashlib.sha256(whole).digest()


def test_an_input_without_canonical_form_is_refused() -> None:
    with pytest.raises(JsonError) as caught:
        input_hash("digest", {"n": float("nan")})
    assert caught.value.code == "not_canonical"
