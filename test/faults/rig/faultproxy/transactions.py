"""Signed transactions as a node's pool sees them."""

from dataclasses import dataclass

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_hash.backends.pysha3 import keccak256
from hexbytes import HexBytes
from rlp import decode


@dataclass(frozen=True)
class Transaction:
    """A signed transaction: hash and address in hex; a legacy one has its gas price as both fees. Fees in wei."""

    raw: str
    hash: str
    sender: str
    nonce: int
    gas: int
    max_fee: int
    max_tip: int


def hash_of(raw: str) -> str:
    """Give the hash of a signed transaction."""
    return f"0x{keccak256(bytes.fromhex(raw[2:])).hex()}"


def read(raw: str) -> Transaction:
    """Decode a signed transaction of type 2 (EIP-1559) or without a type."""
    data = bytes.fromhex(raw[2:])
    sender = Account.recover_transaction(data).lower()
    if data[0] == 2:
        fields = TypedTransaction.from_bytes(HexBytes(data)).as_dict()
        nonce, gas, max_fee, max_tip = (
            int(fields[name]) for name in ("nonce", "gas", "maxFeePerGas", "maxPriorityFeePerGas")
        )
    else:
        fields = decode(data)
        nonce, max_fee, gas = (int.from_bytes(field) for field in fields[:3])
        max_tip = max_fee
    return Transaction(raw, hash_of(raw), sender, nonce, gas, max_fee, max_tip)
