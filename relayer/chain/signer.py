"""Who signs: an interface that hides where the key is, and a key in a keystore file (Web3 Secret Storage, version 3)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import orjson
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from relayer.chain.fees import Fee
from relayer.model.errors import JobsealError


class SignerError(JobsealError):
    """The key cannot be read, or what came from the signer is not what was asked for."""


@dataclass(frozen=True)
class TransactionFields:
    """A type-2 transaction (EIP-1559) without value and access list; `target` is an address of 20 bytes."""

    chain_id: int
    nonce: int
    target: bytes
    calldata: bytes
    gas_limit: int
    fee: Fee


class Signer(Protocol):
    """Signs for one address, 20 bytes."""

    @property
    def address(self) -> bytes:
        """The account that pays and sends."""

    def sign(self, fields: TransactionFields) -> bytes:
        """Give the signed transaction, ready to send; its hash is the Keccak-256 of these bytes."""


class KeystoreSigner:
    """A key that was read from a keystore file, with its password from another file.

    Raises:
        SignerError: a file cannot be read, is no keystore, or the password does not open it.

    """

    def __init__(self, keystore: Path, password_file: Path) -> None:
        document = _read(keystore, "JOBSEAL_CHAIN_KEYSTORE")
        password = _read(password_file, "JOBSEAL_CHAIN_KEYSTORE_PASSWORD_FILE")
        try:
            key = Account.decrypt(orjson.loads(document), password.decode().rstrip("\r\n"))
        except (ValueError, TypeError, KeyError):
            raise SignerError(
                f"JOBSEAL_CHAIN_KEYSTORE: {keystore} is no version 3 keystore that the password opens"
            ) from None
        self._account = Account.from_key(key)

    @property
    def address(self) -> bytes:
        """The account of the key."""
        return bytes.fromhex(self._account.address[2:])

    def sign(self, fields: TransactionFields) -> bytes:
        """Sign, and check that the result says exactly what was asked for."""
        signed = self._account.sign_transaction(_dictionary(fields))
        raw = bytes(signed.raw_transaction)
        check_signed(raw, fields, self.address)
        return raw


def check_signed(raw: bytes, fields: TransactionFields, address: bytes) -> None:
    """Raise `SignerError` unless `raw` is exactly these fields, signed by this address."""
    try:
        decoded = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        signer = bytes.fromhex(Account.recover_transaction(raw)[2:])
    except Exception as error:  # whatever a foreign signer gives back, it is refused
        raise SignerError(f"the signer's answer is no transaction: {type(error).__name__}") from error
    wanted = _dictionary(fields)
    wrong = sorted(name for name, value in wanted.items() if _plain(decoded.get(name)) != _plain(value))
    if wrong or decoded.get("accessList"):
        raise SignerError(f"the signer changed {', '.join(wrong) or 'the access list'}; nothing was sent")
    if signer != address:
        raise SignerError(f"the signer signed as 0x{signer.hex()} instead of 0x{address.hex()}")


def _dictionary(fields: TransactionFields) -> dict[str, object]:
    return {
        "type": 2,
        "chainId": fields.chain_id,
        "nonce": fields.nonce,
        "to": fields.target,
        "value": 0,
        "data": fields.calldata,
        "gas": fields.gas_limit,
        "maxFeePerGas": fields.fee.max_fee,
        "maxPriorityFeePerGas": fields.fee.max_tip,
    }


def _plain(value: object) -> object:
    """Numbers and bytes, whatever the library wraps them in."""
    if isinstance(value, bytes):
        return bytes(value)
    return int(value, 16) if isinstance(value, str) else value


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SignerError(f"{setting}: {path} cannot be read: {error.strerror}") from None
