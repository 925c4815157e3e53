"""The bytes of a signed transaction, type 2 (EIP-1559) or legacy with its chain id (EIP-155), and what they must say."""

from collections.abc import Sequence
from dataclasses import dataclass

import rlp
from coincurve import PublicKey
from eth_hash.backends.pysha3 import keccak256
from rlp.exceptions import RLPException

from relayer.chain.fee import DynamicFee, Fee, LegacyFee
from relayer.model.errors import JobsealError

_TYPE_2 = b"\x02"
# EIP-2718: what begins with a byte from here on is the list of a legacy transaction, below it is a type.
_FIRST_LIST_BYTE = 0xC0
# EIP-155: the recovery id of a legacy transaction is 35 more than twice its chain id, or 36.
_EIP155_OFFSET = 35
# The order of secp256k1; EIP-2 wants the lower of the two values that `s` can have.
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_SIGNATURE_ITEMS = 3
# What fields and signature take beyond the call data, with room.
_MOST_BESIDE_CALLDATA = 512

_Item = bytes | list["_Item"]


class SignerError(JobsealError):
    """The key cannot be used, or what came from the signer is not what was asked for."""


@dataclass(frozen=True)
class TransactionFields:
    """A transaction without value and access list; `target` is an address of 20 bytes."""

    chain_id: int
    nonce: int
    target: bytes
    calldata: bytes
    gas_limit: int
    fee: Fee


def fee_of(raw: bytes, max_fee: int, max_tip: int) -> Fee:
    """Give the fee of a signed transaction as the record of its kind."""
    return LegacyFee(max_fee) if raw[0] >= _FIRST_LIST_BYTE else DynamicFee(max_fee, max_tip)


def unsigned_bytes(fields: TransactionFields) -> bytes:
    """Give what a signature is over."""
    kind, unsigned = _unsigned(fields)
    items = list(unsigned.values())
    if not kind:
        items += [_bytes(fields.chain_id), b"", b""]
    return kind + bytes(rlp.encode(items))


def check_signed(raw: bytes, fields: TransactionFields, address: bytes) -> None:
    """Check that `raw` is exactly these fields, signed by this address, in the only encoding that a transaction has.

    Raises:
        SignerError: it is not; the message names what differs.

    """
    kind, wanted = _unsigned(fields)
    names = list(wanted)
    items = _decode(raw, kind, len(fields.calldata))
    if len(items) != len(names) + _SIGNATURE_ITEMS:
        raise SignerError(f"the signer gave a transaction of {len(items)} fields; nothing was sent")
    wrong = [name for name, item in zip(names, items, strict=False) if item != wanted[name]]
    if wrong:
        raise SignerError(f"the signer changed {', '.join(wrong)}; nothing was sent")
    v, r, s = (_number(item) for item in items[-_SIGNATURE_ITEMS:])
    if raw != kind + rlp.encode([*wanted.values(), _bytes(v), _bytes(r), _bytes(s)]):
        raise SignerError("the signer's answer is not in the canonical encoding; nothing was sent")
    first = 0 if kind else 2 * fields.chain_id + _EIP155_OFFSET
    if v not in (first, first + 1):
        raise SignerError(f"the signer gave the recovery id {v} instead of {first} or {first + 1}")
    if not (0 < r < _ORDER and 0 < s <= _ORDER // 2):
        raise SignerError("the signer gave a signature that nodes refuse: r or s is out of range (EIP-2)")
    signer = _recover(keccak256(unsigned_bytes(fields)), r, s, v - first)
    if signer != address:
        whose = "nobody" if signer is None else f"0x{signer.hex()}"
        raise SignerError(f"the signer signed as {whose} instead of 0x{address.hex()}; nothing was sent")


def _unsigned(fields: TransactionFields) -> tuple[bytes, dict[str, _Item]]:
    """The type of a transaction, empty for a legacy one, and its items before the signature, by name."""
    nonce, gas = _bytes(fields.nonce), _bytes(fields.gas_limit)
    call: dict[str, _Item] = {"to": fields.target, "value": b"", "data": fields.calldata}
    match fields.fee:
        case DynamicFee(max_fee, max_tip):
            head: dict[str, _Item] = {
                "chainId": _bytes(fields.chain_id),
                "nonce": nonce,
                "maxPriorityFeePerGas": _bytes(max_tip),
                "maxFeePerGas": _bytes(max_fee),
                "gas": gas,
            }
            return _TYPE_2, head | call | {"accessList": []}
        case LegacyFee(gas_price):
            return b"", {"nonce": nonce, "gasPrice": _bytes(gas_price), "gas": gas} | call


def _decode(raw: bytes, kind: bytes, calldata_bytes: int) -> Sequence[_Item]:
    if len(raw) > calldata_bytes + _MOST_BESIDE_CALLDATA:
        raise SignerError(f"the signer gave {len(raw)} bytes, which is too many; nothing was sent")
    if not raw.startswith(kind) or (not kind and raw[:1] < bytes([_FIRST_LIST_BYTE])):
        raise SignerError(
            f"the signer gave a transaction of another type (0x{raw[:1].hex()}); nothing was sent"
        )
    try:
        items = rlp.decode(raw[len(kind) :])
    except (RLPException, RecursionError) as error:
        raise SignerError(f"the signer's answer is no transaction: {type(error).__name__}") from None
    if not isinstance(items, list):
        raise SignerError("the signer's answer is no transaction: it is no list of fields")
    return items


def _recover(digest: bytes, r: int, s: int, parity: int) -> bytes | None:
    try:
        key = PublicKey.from_signature_and_message(
            r.to_bytes(32) + s.to_bytes(32) + bytes([parity]), digest, hasher=None
        )
    except ValueError:
        return None
    return bytes(keccak256(key.format(compressed=False)[1:])[-20:])


def _number(item: _Item) -> int:
    if isinstance(item, bytes):
        return int.from_bytes(item)
    raise SignerError("the signer's answer is no transaction: a list stands where the signature belongs")


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8)
