"""The hash chain of an audit log: pure functions, so that anybody can check what they were given.

With h_0 = 32 zero bytes, h_n = SHA-256(h_{n-1} || e_n), where e_n is the n-th event of a tenant as RFC 8785 JSON in
UTF-8. An event that is altered, left out, put in or moved breaks every hash after it.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from relayer.model.errors import JobsealError
from relayer.model.ids import to_public

TENANT_PREFIX = "tnt"


@dataclass(frozen=True, slots=True)
class Head:
    """How far a chain reaches: the number of its last event and its hash, 32 bytes."""

    seq: int
    hash: bytes


GENESIS = Head(0, bytes(32))


@dataclass(frozen=True, slots=True)
class Link:
    """An event in its place: its number from 1 on, its text, its hash."""

    seq: int
    event: str
    hash: bytes


class ChainBrokenError(JobsealError):
    """A chain that is not what was once written; `seq` is the first event that does not fit."""

    def __init__(self, seq: int, what: str) -> None:
        super().__init__(f"event {seq} {what}")
        self.seq = seq


def link_hash(before: bytes, event: str) -> bytes:
    """Give the hash of an event behind another one's."""
    return hashlib.sha256(before + event.encode()).digest()


def follow(tenant: UUID | None, links: Iterable[Link], start: Head = GENESIS) -> Head:
    """Recompute a stretch of a tenant's chain; give its end.

    Args:
        tenant: whose chain it is; None for the platform's own.
        links: the events in their order, the first of them right behind `start`.
        start: where the stretch begins.

    Raises:
        ChainBrokenError: an event is altered, missing, moved or another tenant's.

    """
    shown = None if tenant is None else to_public(TENANT_PREFIX, tenant)
    head = start
    for link in links:
        if link.seq != head.seq + 1:
            raise ChainBrokenError(head.seq + 1, "is missing")
        if link_hash(head.hash, link.event) != link.hash:
            raise ChainBrokenError(link.seq, "is altered, or what stood before it is")
        if json.loads(link.event)["tenant_id"] != shown:
            raise ChainBrokenError(link.seq, "is another tenant's")
        head = Head(link.seq, link.hash)
    return head
