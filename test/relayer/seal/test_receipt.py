"""The JSON of a receipt: one spelling out, only that spelling in, and the published schema agrees."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from relayer.seal.commitment import JobConfirmation
from relayer.seal.receipt import MAX_RECEIPT_BYTES, Receipt, ReceiptError
from relayer.seal.tree import Proof

SCHEMA = Draft202012Validator(json.loads(files("relayer.seal").joinpath("receipt.schema.json").read_text()))

uint64 = st.integers(0, 2**64 - 1)
hashes = st.binary(min_size=32, max_size=32)
receipts = st.builds(
    Receipt,
    chain_id=st.integers(1, 2**64 - 1),
    registry=st.binary(min_size=20, max_size=20),
    batch_root=hashes,
    transaction_hash=hashes,
    block_number=uint64,
    block_hash=hashes,
    job=st.builds(
        JobConfirmation,
        ticket=uint64,
        job_id=st.binary(min_size=16, max_size=16),
        input_hash=hashes,
        output_hash=hashes,
        completed_at=uint64,
        salt=hashes,
    ),
    proof=st.builds(
        Proof,
        word=st.tuples(*[hashes] * 8),
        mask=st.integers(0, 2**256 - 1),
        batch=st.lists(hashes, max_size=9).map(tuple),
    ),
)

Change = Callable[[dict[str, Any]], object]


def put(path: str, value: object) -> Change:
    """Sets the member at a JSON pointer."""

    def change(document: dict[str, Any]) -> None:
        *above, last = path.strip("/").split("/")
        target: Any = document
        for name in above:
            target = target[int(name) if isinstance(target, list) else name]
        target[int(last) if isinstance(target, list) else last] = value

    return change


@given(receipts)
def test_json_and_back(receipt: Receipt) -> None:
    data = receipt.to_json()
    assert Receipt.from_json(data) == receipt
    assert data == receipt.to_json()
    SCHEMA.validate(json.loads(data))
    assert not set(data) & set(b" \n\t")


def test_the_fields_in_their_order_and_spelling(receipt: Receipt) -> None:
    document = json.loads(receipt.to_json())
    assert list(document) == [
        *["version", "chainId", "registry", "batchRoot", "transactionHash", "blockNumber", "blockHash"],
        *["job", "proof"],
    ]
    assert list(document["job"]) == ["ticket", "jobId", "inputHash", "outputHash", "completedAt", "salt"]
    assert list(document["proof"]) == ["word", "mask", "batch"]
    assert document["version"] == 1
    assert document["chainId"] == "0x7a69"
    assert document["registry"] == "0x5fbdb2315678afecb367f032d93f642f64180aa3"
    assert document["blockNumber"] == "0x7"
    assert document["job"]["ticket"] == "0x000000000000012c"
    assert document["job"]["completedAt"] == "0x6553f100"
    assert len(document["proof"]["mask"]) == 66


def test_white_space_and_the_order_of_members_are_free(receipt: Receipt) -> None:
    document = json.loads(receipt.to_json())
    shuffled = json.dumps(dict(reversed(document.items())), indent=2) + "\n"
    assert Receipt.from_json(shuffled.encode()) == receipt


HASH = "0x" + "ab" * 32


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("/version", put("/version", 2)),
        ("/version", put("/version", "1")),
        ("/version", put("/version", True)),
        ("/chainId", put("/chainId", "0x0")),
        ("/chainId", put("/chainId", "0x07a69")),
        ("/chainId", put("/chainId", "0x7A69")),
        ("/chainId", put("/chainId", "0x")),
        ("/chainId", put("/chainId", "31337")),
        ("/chainId", put("/chainId", 31337)),
        ("/chainId", put("/chainId", "0x1" + "0" * 16)),
        ("/registry", put("/registry", "0x5FbDB2315678afecb367f032d93F642f64180aa3")),
        ("/registry", put("/registry", "5fbdb2315678afecb367f032d93f642f64180aa3")),
        ("/registry", put("/registry", HASH)),
        ("/registry", put("/registry", None)),
        ("/batchRoot", put("/batchRoot", "0x" + "AB" * 32)),
        ("/batchRoot", put("/batchRoot", "0X" + "ab" * 32)),
        ("/transactionHash", put("/transactionHash", HASH[:-1])),
        ("/transactionHash", put("/transactionHash", HASH[:-1] + "\n")),
        ("/transactionHash", put("/transactionHash", HASH[:-1] + "٣")),
        ("/blockNumber", put("/blockNumber", "0x-7")),
        ("/blockNumber", put("/blockNumber", "0x007")),
        ("/blockHash", put("/blockHash", HASH + "ab")),
        ("/job", put("/job", [])),
        ("/job/ticket", put("/job/ticket", "0x12c")),
        ("/job/ticket", put("/job/ticket", 300)),
        ("/job/jobId", put("/job/jobId", HASH)),
        ("/job/inputHash", lambda document: document["job"].pop("inputHash")),
        ("/job/completedAt", put("/job/completedAt", "0x06553f100")),
        ("/job/salt", put("/job/salt", "0x")),
        ("/job/extra", put("/job/extra", 1)),
        ("/proof", put("/proof", None)),
        ("/proof/word", put("/proof/word", [HASH] * 7)),
        ("/proof/word", put("/proof/word", HASH)),
        ("/proof/word/3", put("/proof/word/3", HASH[:-2])),
        ("/proof/mask", put("/proof/mask", "0x1")),
        ("/proof/batch", put("/proof/batch", [HASH] * 10)),
        ("/proof/batch/0", put("/proof/batch/0", 1)),
        ("/extra", put("/extra", None)),
        ("/blockHash", lambda document: document.pop("blockHash")),
    ],
)
def test_another_spelling_is_refused_by_name_and_by_the_schema(
    receipt: Receipt, field: str, change: Change
) -> None:
    document = json.loads(receipt.to_json())
    change(document)
    with pytest.raises(ReceiptError, match=field) as caught:
        Receipt.from_json(json.dumps(document).encode())
    assert caught.value.field == field
    assert not SCHEMA.is_valid(document)


@pytest.mark.parametrize("document", ["null", "[]", '"receipt"', "{", "", "\x00", "[" * 1000])
def test_what_is_no_object_is_refused(document: str) -> None:
    with pytest.raises(ReceiptError) as caught:
        Receipt.from_json(document.encode())
    assert caught.value.field == ""


def test_a_field_named_twice_is_refused(receipt: Receipt) -> None:
    data = receipt.to_json().replace(b'"salt":', b'"salt":"0x00","salt":')
    with pytest.raises(ReceiptError) as caught:
        Receipt.from_json(data)
    assert caught.value.field == "/job/salt"


def test_a_flood_is_refused_unread() -> None:
    with pytest.raises(ReceiptError, match="at most"):
        Receipt.from_json(b" " * (MAX_RECEIPT_BYTES + 1))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chain_id", 0),
        ("registry", bytes(32)),
        ("batch_root", bytes(31)),
        ("transaction_hash", b""),
        ("block_number", -1),
        ("block_hash", "00" * 32),
        ("proof", Proof((bytes(32),) * 7, 1, ())),
        ("proof", Proof((bytes(32),) * 8, 1, (bytes(31),))),
        ("proof", Proof((bytes(32),) * 8, 1 << 256, ())),
        ("proof", Proof((bytes(32),) * 8, 1, (bytes(32),) * 10)),
    ],
)
def test_a_record_of_the_wrong_width_is_refused(receipt: Receipt, field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        replace(receipt, **{field: value})  # type: ignore[arg-type]
