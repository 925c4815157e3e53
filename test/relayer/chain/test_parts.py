"""Answers and errors of nodes: what the sender decides by."""

from datetime import timedelta

import pytest
from eth_abi.abi import encode
from eth_hash.backends.pysha3 import keccak256

from relayer.chain.answers import AnswerClass, classify
from relayer.chain.registry import RevertError, decode_error
from relayer.chain.rpc import JsonRpc


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("already known", AnswerClass.KNOWN),
        ("transaction already imported", AnswerClass.KNOWN),
        ("unknown transaction", AnswerClass.UNKNOWN),
        ("nonce too low: next nonce 5, tx nonce 4", AnswerClass.NONCE_TOO_LOW),
        ("replacement transaction underpriced", AnswerClass.UNDERPRICED),
        ("max fee per gas less than block base fee", AnswerClass.UNDERPRICED),
        ("Insufficient funds for gas * price + value", AnswerClass.NO_FUNDS),
        ("txpool is full", AnswerClass.POOL_FULL),
    ],
)
def test_answers_are_told_apart(message: str, kind: AnswerClass) -> None:
    assert classify(message) is kind


def test_reverts_are_decoded_by_the_abi() -> None:
    spent = keccak256(b"AlreadyConfirmed(uint64,uint256)")[:4] + encode(["uint64", "uint256"], [3, 5])
    assert decode_error(spent) == RevertError("AlreadyConfirmed", (3, 5))
    assert str(decode_error(spent)) == "AlreadyConfirmed(3, 5)"
    panic = bytes.fromhex("4e487b71") + (17).to_bytes(32)
    assert decode_error(panic) == RevertError("Panic", (17,))
    assert decode_error(b"\xde\xad\xbe\xef") == RevertError("0xdeadbeef", ())
    assert decode_error(spent[:20]).args == ()


def test_no_address_is_refused_before_it_is_used() -> None:
    for url in ("", "localhost:8545", "ws://127.0.0.1"):
        with pytest.raises(ValueError, match="JOBSEAL_CHAIN_RPC_URLS"):
            JsonRpc(url, timedelta(seconds=1))
