"""Fees, signatures, answers and errors: what the sender decides by."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from eth_abi.abi import encode
from eth_hash.backends.pysha3 import keccak256
from hypothesis import given
from hypothesis import strategies as st

from relayer.chain.answers import AnswerClass, classify
from relayer.chain.fees import Fee, Fees, Market, gas_limit
from relayer.chain.registry import RevertError, decode_error
from relayer.chain.rpc import JsonRpc
from relayer.chain.signer import KeystoreSigner, SignerError, TransactionFields, check_signed

FIELDS = TransactionFields(31337, 7, b"\x11" * 20, b"\x01\x00\xff", 90_000, Fee(30, 2))
WEI = st.integers(min_value=1, max_value=10**15)


@given(max_fee=WEI, tip=WEI, base=WEI, market_tip=WEI, cap=WEI)
def test_a_bump_pays_an_eighth_more_in_both_fields_and_never_more_than_the_cap(
    max_fee: int, tip: int, base: int, market_tip: int, cap: int
) -> None:
    fees = Fees(JsonRpc("http://127.0.0.1", timedelta(seconds=1)), cap)
    old = Fee(max(max_fee, tip), tip)
    if (new := fees.bump(old, Market(base, market_tip))) is None:
        assert 9 * old.max_fee > 8 * cap or 9 * tip > 8 * cap or market_tip > cap
        return
    assert 8 * new.max_fee >= 9 * old.max_fee
    assert 8 * new.max_tip >= 9 * old.max_tip
    assert new.max_tip >= market_tip
    assert new.max_tip <= new.max_fee <= cap


def test_call_data_have_a_floor() -> None:
    assert gas_limit(100_000, b"") == 120_000
    assert gas_limit(21_000, b"\x01" * 1000 + b"\x00" * 10) == 21_000 + 40 * 1000 + 10 * 10


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


@pytest.mark.parametrize(
    "changed",
    [
        replace(FIELDS, chain_id=1),
        replace(FIELDS, nonce=8),
        replace(FIELDS, target=b"\x12" * 20),
        replace(FIELDS, calldata=b"\x01"),
        replace(FIELDS, gas_limit=1),
        replace(FIELDS, fee=Fee(31, 2)),
        replace(FIELDS, fee=Fee(30, 1)),
    ],
)
def test_a_signer_that_changes_a_field_is_caught(
    keystore: tuple[Path, Path], changed: TransactionFields
) -> None:
    signer = KeystoreSigner(*keystore)
    raw = signer.sign(FIELDS)
    check_signed(raw, FIELDS, signer.address)
    with pytest.raises(SignerError, match="the signer changed"):
        check_signed(raw, changed, signer.address)


def test_another_key_and_no_transaction_are_caught(keystore: tuple[Path, Path]) -> None:
    raw = KeystoreSigner(*keystore).sign(FIELDS)
    with pytest.raises(SignerError, match="instead of"):
        check_signed(raw, FIELDS, b"\x22" * 20)
    with pytest.raises(SignerError, match="no transaction"):
        check_signed(b"\x02nonsense", FIELDS, b"\x22" * 20)


def test_a_keystore_that_does_not_open_is_named(keystore: tuple[Path, Path], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("another")
    with pytest.raises(SignerError, match=r"JOBSEAL_CHAIN_KEYSTORE: .*key\.json") as caught:
        KeystoreSigner(keystore[0], wrong)
    assert "another" not in str(caught.value)
    with pytest.raises(SignerError, match=r"KEYSTORE_PASSWORD_FILE: .*missing cannot be read"):
        KeystoreSigner(keystore[0], tmp_path / "missing")


def test_no_address_is_refused_before_it_is_used() -> None:
    for url in ("", "localhost:8545", "ws://127.0.0.1"):
        with pytest.raises(ValueError, match="JOBSEAL_CHAIN_RPC_URL"):
            JsonRpc(url, timedelta(seconds=1))
