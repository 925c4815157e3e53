"""Who may come in, remembered for a moment, so that a request asks the database nothing.

An answer is forgotten when its key or tenant changes, as far as that is heard, and after `LIFETIME` in any case: no
longer than that is a revoked key good where the news was lost. Time is that of a clock that never jumps.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from relayer.tenants.principal import Principal

LIFETIME = timedelta(seconds=30)
# A flood of one wrong key reaches the database once in this time.
UNKNOWN_LIFETIME = timedelta(seconds=3)
SIZE = 10_000

Handle = bytes | UUID
Answer = TypeVar("Answer")
Lookup = Callable[[], Awaitable[Principal | None]]


class KeyCache:
    """Answers by handle: the digest of a key, or its id. Whoever asks checks expiry by his own clock."""

    def __init__(self, *, size: int = SIZE, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._monotonic = monotonic
        # In the order in which they were stored, so that the first is the oldest. Kept apart, so that wrong keys,
        # of which anybody can make any number, push out no right one.
        self._known: dict[Handle, tuple[Principal, float]] = {}
        self._unknown: dict[Handle, float] = {}
        self._looking: dict[Handle, asyncio.Task[Principal | None]] = {}
        self._generation = 0

    def known(self, handle: Handle) -> Principal | None:
        """Give who is remembered; None where nobody is."""
        entry = self._known.get(handle)
        return entry[0] if entry is not None and self._monotonic() < entry[1] else None

    async def find(self, handle: Handle, look_up: Lookup) -> Principal | None:
        """Give what is remembered, or look; those who ask for the same meanwhile wait for the same look."""
        known = self.known(handle)
        if known is not None:
            return known
        now = self._monotonic()
        if now < self._unknown.get(handle, now):
            return None
        task = self._looking.get(handle)
        if task is None:
            task = self._looking[handle] = asyncio.create_task(self._look(handle, look_up))
            task.add_done_callback(lambda done: self._looked(handle, done))
        # Whoever stops waiting takes nobody's answer away.
        return await asyncio.shield(task)

    def drop_key(self, key_id: UUID) -> None:
        """Forget what is remembered of a key."""
        self._drop(lambda principal: principal.key_id == key_id)

    def drop_tenant(self, tenant_id: UUID) -> None:
        """Forget what is remembered of every key of a tenant."""
        self._drop(lambda principal: principal.tenant_id == tenant_id)

    def clear(self) -> None:
        """Forget everything."""
        self._drop(lambda _: True)

    def _drop(self, meant: Callable[[Principal], bool]) -> None:
        for handle in [handle for handle, (principal, _) in self._known.items() if meant(principal)]:
            del self._known[handle]
        # A look that is under way may have read what is no longer true: its answer is not kept, and later
        # requests do not wait for it.
        self._generation += 1
        self._looking.clear()

    async def _look(self, handle: Handle, look_up: Lookup) -> Principal | None:
        generation, began = self._generation, self._monotonic()
        principal = await look_up()
        if generation == self._generation:
            if principal is None:
                _store(self._unknown, handle, began + UNKNOWN_LIFETIME.total_seconds(), self._size)
                self._known.pop(handle, None)
            else:
                _store(self._known, handle, (principal, began + LIFETIME.total_seconds()), self._size)
        return principal

    def _looked(self, handle: Handle, task: asyncio.Task[Principal | None]) -> None:
        if self._looking.get(handle) is task:
            del self._looking[handle]
        with suppress(asyncio.CancelledError):
            # Seen here, in case that nobody waits any more.
            task.exception()


def _store(answers: dict[Handle, Answer], handle: Handle, answer: Answer, size: int) -> None:
    answers.pop(handle, None)
    if len(answers) >= size:
        del answers[next(iter(answers))]
    answers[handle] = answer
