"""Faults of single answers: lost, false, refused, throttled, of another chain."""

from dataclasses import dataclass

from faultproxy.calls import Answer, Call, Forward, Loss, LostError, error
from faultproxy.transactions import hash_of

SEND = "eth_sendRawTransaction"

THROTTLED = -32005
"""The code with which Infura and others answer a client that asks too much."""


@dataclass(frozen=True)
class Lose:
    """The call is carried out, and the reply of its exchange gets lost; with `before` it is not carried out either."""

    loss: Loss
    before: bool = False

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        if not self.before:
            await forward(call)
        raise LostError(self.loss)


@dataclass(frozen=True)
class FalseSuccess:
    """The node says that it has the transaction, and has thrown it away."""

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        return {"result": hash_of(call.params[0])}


@dataclass(frozen=True)
class FalseError:
    """The call is carried out, and the node says that it was refused."""

    message: str
    code: int = -32000

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        await forward(call)
        return error(self.code, self.message)


@dataclass(frozen=True)
class Refuse:
    """The node refuses the call and does not carry it out."""

    message: str
    code: int = -32000

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        return error(self.code, self.message)


THROTTLE = Refuse("daily request count exceeded, request rate limited", THROTTLED)
"""A limit on requests, said in JSON-RPC instead of HTTP."""


@dataclass(frozen=True)
class OtherChain:
    """The node belongs to another chain."""

    chain_id: int

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        if call.method == "eth_chainId":
            return {"result": hex(self.chain_id)}
        if call.method == "net_version":
            return {"result": str(self.chain_id)}
        return await forward(call)
