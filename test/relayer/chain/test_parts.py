"""Reverts are decoded, and addresses are looked at before they are used."""

from datetime import timedelta

import pytest
from eth_abi.abi import encode
from eth_hash.backends.pysha3 import keccak256

from relayer.chain.registry import RevertError, decode_error
from relayer.chain.rpc import JsonRpc


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
