"""What passes through the proxy, and what a fault is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


@dataclass(frozen=True)
class Call:
    """One JSON-RPC call, also where it came as part of a batch."""

    method: str
    params: tuple[Any, ...] = ()


Answer = dict[str, Any]
"""The part of a JSON-RPC response that answers: `{"result": …}` or `{"error": {"code": …, "message": …}}`."""

Forward = Callable[[Call], Awaitable[Answer]]
"""Passes a call on to what lies behind: the next fault, and at last the node."""

Fault = Callable[[Call, Forward], Awaitable[Answer]]
"""Stands before the node: may pass the call on or not, change it or its answer, or raise `LostError`."""


class Loss(StrEnum):
    """How the reply of a whole exchange gets lost."""

    CLOSED = "closed"
    """The connection ends without an answer."""
    SILENT = "silent"
    """Nothing comes until the client gives up."""
    BAD_GATEWAY = "502"
    THROTTLED = "429"
    GARBAGE = "garbage"
    """A page of HTML with status 200."""
    TRUNCATED = "truncated"
    """The first half of an answer."""
    ENDLESS = "endless"
    """Spaces, which JSON allows, for as long as the client reads."""


class LostError(Exception):
    """The client gets no answer of JSON-RPC; whether the call was carried out is the fault's secret."""

    def __init__(self, loss: Loss) -> None:
        super().__init__(loss)
        self.loss = loss


def error(code: int, message: str) -> Answer:
    """Give the answer that refuses a call."""
    return {"error": {"code": code, "message": message}}
