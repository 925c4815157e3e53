"""A signer that keeps the key elsewhere: `eth_signTransaction` over JSON-RPC, as Web3Signer and geth answer it."""

import base64
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from relayer.chain.fee import DynamicFee, Fee, LegacyFee
from relayer.chain.rpc import JsonRpc, RpcError, RpcUnavailableError
from relayer.chain.signer import SignerUnavailableError
from relayer.chain.transaction import SignerError, TransactionFields, check_signed
from relayer.settings import RemoteSignerSettings


class RemoteSigner:
    """Asks a signing service for the signatures of one account, and believes nothing that it answers.

    Raises:
        SignerError: the file with the credentials cannot be read.

    """

    def __init__(self, settings: RemoteSignerSettings) -> None:
        self._rpc = JsonRpc(
            settings.url.get_secret_value(), settings.timeout, headers=_authorization(settings)
        )
        self._address = bytes.fromhex(settings.address[2:])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._rpc.close()

    @property
    def address(self) -> bytes:
        """The account that the settings name."""
        return self._address

    async def check_key(self) -> None:
        """Check that the service names the settings' account as one of its own (`eth_accounts`)."""
        accounts = await self._ask("eth_accounts")
        known = {str(one).lower() for one in accounts} if isinstance(accounts, list) else set()
        if f"0x{self._address.hex()}" not in known:
            raise SignerError(
                f"the signer at {self._rpc.address} has no key of 0x{self._address.hex()}; "
                "correct JOBSEAL_SIGNER_ADDRESS, or give it the key"
            )

    async def sign(self, fields: TransactionFields) -> bytes:
        """Have the transaction signed, and check every bit of the answer."""
        answer = await self._ask("eth_signTransaction", _transaction(fields, self._address))
        raw = _raw(answer)
        check_signed(raw, fields, self._address)
        return raw

    async def _ask(self, method: str, *params: Any) -> Any:
        try:
            return await self._rpc.call(method, params)
        except RpcUnavailableError as error:
            raise SignerUnavailableError(f"the signer: {error}") from None
        except RpcError as error:
            raise SignerError(f"the signer at {error}") from None


def _transaction(fields: TransactionFields, sender: bytes) -> dict[str, str]:
    """The transaction as the service reads it; those that know no `chainId` have one of their own."""
    return {
        "from": f"0x{sender.hex()}",
        "to": f"0x{fields.target.hex()}",
        "gas": hex(fields.gas_limit),
        "nonce": hex(fields.nonce),
        "value": "0x0",
        "data": f"0x{fields.calldata.hex()}",
        "chainId": hex(fields.chain_id),
    } | _fee(fields.fee)


def _fee(fee: Fee) -> dict[str, str]:
    match fee:
        case DynamicFee(max_fee, max_tip):
            return {"maxFeePerGas": hex(max_fee), "maxPriorityFeePerGas": hex(max_tip)}
        case LegacyFee(gas_price):
            return {"gasPrice": hex(gas_price)}


def _raw(answer: Any) -> bytes:
    """The bytes of an answer: hex digits, or geth's object whose member `raw` has them."""
    digits = answer.get("raw") if isinstance(answer, dict) else answer
    if isinstance(digits, str) and digits.startswith("0x"):
        try:
            return bytes.fromhex(digits[2:])
        except ValueError:
            pass
    raise SignerError("the signer's answer is no transaction: it is not in hexadecimal digits")


def _authorization(settings: RemoteSignerSettings) -> dict[str, str]:
    if settings.token_file is not None:
        return {"Authorization": f"Bearer {_secret(settings.token_file, 'JOBSEAL_SIGNER_TOKEN_FILE')}"}
    if settings.basic_auth_file is not None:
        pair = _secret(settings.basic_auth_file, "JOBSEAL_SIGNER_BASIC_AUTH_FILE")
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}


def _secret(path: Path, setting: str) -> str:
    try:
        text = path.read_text("ascii").strip()
    except OSError as error:
        raise SignerError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or not text:
        raise SignerError(f"{setting}: {path} holds no credentials: one line of printable ASCII characters")
    return text
