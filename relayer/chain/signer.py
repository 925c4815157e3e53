"""Who signs: an interface that hides where the key is."""

from typing import Protocol

from relayer.chain.transaction import TransactionFields
from relayer.model.errors import UnavailableError


class SignerUnavailableError(UnavailableError):
    """No signature came in time. Nothing was sent; the same fields may be signed again."""


class Signer(Protocol):
    """Signs for one address, 20 bytes."""

    @property
    def address(self) -> bytes:
        """The account that pays and sends."""

    async def check_key(self) -> None:
        """Check that the address's key is at hand.

        Raises:
            SignerUnavailableError: whether it is, is not known.
            SignerError: it is not.

        """

    async def sign(self, fields: TransactionFields) -> bytes:
        """Give the signed transaction, ready to send; its hash is the Keccak-256 of these bytes.

        Whoever implements this checks the bytes with `check_signed` before it gives them away.

        Raises:
            SignerUnavailableError: no answer came; the same fields may be signed again.
            SignerError: what came is not what was asked for.

        """
