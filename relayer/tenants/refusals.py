"""Refused keys on record: counted in memory, and written to the audit log together, never in a request's way.

Anybody can be refused, as often as he likes. So a key has at most one event for each reason in `PACE`, and all that is
no key's at all has one; memory is bounded as well. What a process that is killed had counted since is lost.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from relayer.model.clock import Clock
from relayer.model.ids import to_public
from relayer.store.database import Database
from relayer.tenants import refusal_repository as repository
from relayer.tenants.audit import (
    PLATFORM,
    Actor,
    ActorType,
    Context,
    Event,
    Origin,
    Outcome,
    Target,
    instant,
    record,
)
from relayer.tenants.keys import KEY_PREFIX
from relayer.tenants.principal import Principal

PACE = timedelta(hours=1)
MOST_SUBJECTS = 1_000
MOST_ADDRESSES = 10

# In whose chain of the audit log that stands which concerns no tenant.
_PLATFORM_CHAIN = UUID(int=0)


class Reason(StrEnum):
    """Why a key was refused."""

    REVOKED = "revoked"
    EXPIRED = "expired"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    INSUFFICIENT_SCOPE = "insufficient_scope"


@dataclass(frozen=True, slots=True)
class _Subject:
    """A key and a reason; the name of the key is for people."""

    tenant_id: UUID
    key_id: UUID
    reason: Reason
    name: str = field(compare=False)


@dataclass(slots=True)
class _Tally:
    """How often something happened, from when to when, and from where; of many addresses the first."""

    since: datetime
    until: datetime
    count: int = 0
    addresses: Counter[str] = field(default_factory=Counter)

    def add(self, other: "_Tally") -> None:
        self.since, self.until = min(self.since, other.since), max(self.until, other.until)
        self.count += other.count
        for address, count in other.addresses.items():
            if address in self.addresses or len(self.addresses) < MOST_ADDRESSES:
                self.addresses[address] += count

    def metadata(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "since": instant(self.since),
            "until": instant(self.until),
            "addresses": [address for address, _ in self.addresses.most_common()],
        }


class Refusals:
    """What this process has to tell of refused keys, in the role of the API."""

    def __init__(self, db: Database, clock: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._monotonic = monotonic
        # By what was shown, with the digests under which the key may be found; whose it is is asked when it is written.
        self._shown: dict[bytes | UUID, tuple[Sequence[bytes], _Tally]] = {}
        self._tallies: dict[_Subject | None, _Tally] = {}
        self._told: dict[_Subject | None, float] = {}

    def note(self, principal: Principal, reason: Reason, address: str | None) -> None:
        """Count the refusal of a key that is known."""
        subject = _Subject(principal.tenant_id, principal.key_id, reason, principal.key_name)
        self._add(subject, self._once(address))

    def note_ended(self, handle: bytes | UUID, digests: Sequence[bytes], address: str | None) -> None:
        """Count what is no live key: its digest, and all that it may be found by; or the id of a token's key."""
        tally = self._once(address)
        if handle in self._shown:
            self._shown[handle][1].add(tally)
        elif len(self._shown) < MOST_SUBJECTS:
            self._shown[handle] = (digests, tally)
        else:
            self._add(None, tally)

    def note_unknown(self, address: str | None) -> None:
        """Count what cannot be anybody's key or token."""
        self._add(None, self._once(address))

    async def write(self, *, everything: bool = False) -> None:
        """Write what is due, or everything, as before the process ends; it stays counted where that fails.

        Raises:
            UnavailableError: the database is away.

        """
        await self._name_shown()
        now, pace = self._monotonic(), PACE.total_seconds()
        self._told = {subject: at for subject, at in self._told.items() if now - at < pace}
        for subject in [one for one in self._tallies if everything or one not in self._told]:
            tally = self._tallies.pop(subject)
            try:
                await self._tell(subject, tally)
            except BaseException:
                self._add(subject, tally)
                raise
            self._told[subject] = now

    def _once(self, address: str | None) -> _Tally:
        now = self._clock()
        return _Tally(now, now, 1, Counter(() if address is None else (address,)))

    def _add(self, subject: _Subject | None, tally: _Tally) -> None:
        if subject not in self._tallies and len(self._tallies) >= MOST_SUBJECTS:
            subject = None
        known = self._tallies.setdefault(subject, tally)
        if known is not tally:
            known.add(tally)

    async def _name_shown(self) -> None:
        shown, self._shown = self._shown, {}
        if not shown:
            return
        digests = [digest for candidates, _ in shown.values() for digest in candidates]
        ids = [handle for handle in shown if isinstance(handle, UUID)]
        try:
            async with self._db.statement() as conn:
                keys = await repository.shown_keys(conn, digests, ids, self._clock())
        except BaseException:
            self._shown = shown | self._shown
            raise
        found = {key.digest: key for key in keys} | {key.key_id: key for key in keys}
        for handle, (candidates, tally) in shown.items():
            key = next((found[one] for one in (handle, *candidates) if one in found), None)
            if key is None:
                self._add(None, tally)
            elif key.reason is not None:
                self._add(_Subject(key.tenant_id, key.key_id, Reason(key.reason), key.name), tally)

    async def _tell(self, subject: _Subject | None, tally: _Tally) -> None:
        event = self._unknown(tally) if subject is None else self._refused(subject, tally)
        async with self._db.transaction(event.tenant_id or _PLATFORM_CHAIN) as conn:
            await record(conn, event)

    def _refused(self, subject: _Subject, tally: _Tally) -> Event:
        key = to_public(KEY_PREFIX, subject.key_id)
        address = next(iter(tally.addresses), None)
        return Event(
            tenant_id=subject.tenant_id,
            action="api_key.refused",
            origin=Origin(Actor(ActorType.API_KEY, key, subject.name), Context(address=address)),
            occurred_at=self._clock(),
            targets=(Target("api_key", key, subject.name),),
            outcome=Outcome.DENIED,
            metadata={"reason": subject.reason.value} | tally.metadata(),
        )

    def _unknown(self, tally: _Tally) -> Event:
        return Event(
            tenant_id=None,
            action="credentials.refused",
            origin=PLATFORM,
            occurred_at=self._clock(),
            outcome=Outcome.DENIED,
            metadata=tally.metadata(),
        )
