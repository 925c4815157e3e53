"""A signer whose key lies in a keystore file (Web3 Secret Storage, version 3)."""

from pathlib import Path

import orjson
from eth_account import Account

from relayer.chain.fee import DynamicFee, Fee, LegacyFee
from relayer.chain.transaction import SignerError, TransactionFields, check_signed


class KeystoreSigner:
    """A key that was read from a keystore file, with its password from another file.

    Reading it takes a second, once; a signature takes less than a millisecond.

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

    async def check_key(self) -> None:
        """The key is at hand since the keystore was read."""

    async def sign(self, fields: TransactionFields) -> bytes:
        """Sign, and check that the result says exactly what was asked for."""
        signed = self._account.sign_transaction(
            {
                "chainId": fields.chain_id,
                "nonce": fields.nonce,
                "to": fields.target,
                "value": 0,
                "data": fields.calldata,
                "gas": fields.gas_limit,
            }
            | _fee(fields.fee)
        )
        raw = bytes(signed.raw_transaction)
        check_signed(raw, fields, self.address)
        return raw


def _fee(fee: Fee) -> dict[str, int]:
    match fee:
        case DynamicFee(max_fee, max_tip):
            return {"type": 2, "maxFeePerGas": max_fee, "maxPriorityFeePerGas": max_tip}
        case LegacyFee(gas_price):
            return {"gasPrice": gas_price}


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SignerError(f"{setting}: {path} cannot be read: {error.strerror}") from None
