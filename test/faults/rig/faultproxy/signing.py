"""Faults of a signing service: it signs something else than it was asked for, or with another key."""

from dataclasses import dataclass
from typing import Any

import rlp

from faultproxy.calls import Answer, Call, Forward

SIGN = "eth_signTransaction"
# The order of secp256k1's group; a signature is valid with s and with this minus s.
_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


class AlteredRequest:
    """Signs the transaction with other fields; values as JSON-RPC has them."""

    def __init__(self, **fields: str) -> None:
        self._fields = fields

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        if call.method != SIGN:
            return await forward(call)
        return await forward(Call(SIGN, ({**call.params[0], **self._fields},)))


class OtherKey(AlteredRequest):
    """Signs with the key of another account."""

    def __init__(self, account: str) -> None:
        super().__init__(**{"from": account})


@dataclass(frozen=True)
class HighS:
    """Gives the other of the two signatures, which nodes do not accept (EIP-2)."""

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        answer = await forward(call)
        if call.method != SIGN or "error" in answer:
            return answer
        raw = answer["result"]["raw"] if isinstance(answer["result"], dict) else answer["result"]
        kind, *fields = raw[2:4], *_fields(raw)
        parity, r, s = fields[-3:]
        other = [int.from_bytes(parity) ^ 1, r, _ORDER - int.from_bytes(s)]
        return {"result": f"0x{kind}{rlp.encode([*fields[:-3], *other]).hex()}"}


def _fields(raw: str) -> list[Any]:
    fields: list[Any] = rlp.decode(bytes.fromhex(raw[4:]))
    return fields
