"""A signer that fails."""

from relayer.chain.signer import Signer, SignerError, TransactionFields


class FaultySigner:
    """Signs with a real signer; `trouble` is said instead of the next signatures."""

    def __init__(self, signer: Signer) -> None:
        self.trouble: str | None = None
        self._signer = signer

    @property
    def address(self) -> bytes:
        return self._signer.address

    def sign(self, fields: TransactionFields) -> bytes:
        if self.trouble is not None:
            raise SignerError(self.trouble)
        return self._signer.sign(fields)
