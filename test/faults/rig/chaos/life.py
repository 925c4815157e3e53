"""What can happen to a process between two of its effects: it dies, its database breaks, another one leads."""

import inspect
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from faultproxy.answers import SEND
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.chain.rpc import FAILURES, REST_S, JsonRpc
from relayer.chain.throttle import Throttle
from relayer.model.breaker import Breaker, Monotonic
from relayer.store.blobs import LocalBlobStore
from relayer.store.database import Database

_OURS = re.compile(r"/relayer/(chain|batches)/(?!rpc\.py)")

Event = Callable[[], Awaitable[None]]


class KilledError(BaseException):
    """Ends a pass where a SIGKILL would."""


class Life:
    """Counts the effects of a process: commits, and transactions that were sent.

    `seen` is told the name of each; with `skips_reads`, transactions that only read are no effects.
    `strike` lets something happen after the next effects; `break_database` lets the server end the next transactions.
    """

    def __init__(self, seen: Callable[[str], object] = str, *, skips_reads: bool = False) -> None:
        self.seen = seen
        self.skips_reads = skips_reads
        self._strikes: dict[int, Event] = {}
        self._breaks: dict[int, str] = {}
        self._effects = 0
        self._begun = 0
        self._dead = False

    def strike(self, after: int, event: Event) -> None:
        """Let something happen after so many more effects."""
        self._strikes[self._effects + after] = event

    def die(self, after: int) -> None:
        """Let the process die after so many more effects."""

        async def death() -> None:
            self._dead = True
            raise KilledError

        self.strike(after, death)

    def break_database(self, after: int, statement: str) -> None:
        """Let a statement run on the server at the end of a transaction, after so many more of them."""
        self._breaks[self._begun + after] = statement

    def rise(self) -> None:
        """Begin anew, as the next process."""
        self._strikes.clear()
        self._breaks.clear()
        self._dead = False

    def begin(self) -> str | None:
        """Count a transaction; give the statement that breaks it."""
        if self._dead:
            raise KilledError
        self._begun += 1
        return self._breaks.pop(self._begun, None)

    async def effect(self, name: str) -> None:
        """Count an effect of a name."""
        if self._dead:
            raise KilledError
        self._effects += 1
        self.seen(name)
        if (event := self._strikes.pop(self._effects, None)) is not None:
            await event()


class MortalDatabase(Database):
    """A database that tells a life of its commits."""

    life: Life

    @asynccontextmanager
    async def transaction(self, tenant: UUID | None = None) -> AsyncIterator[AsyncConnection[TupleRow]]:
        breaking = self.life.begin()
        name = f"{maker()} commits"
        async with super().transaction(tenant) as conn:
            yield conn
            if breaking is not None:
                await conn.execute(breaking.encode())
            wrote = not self.life.skips_reads or await _has_written(conn)
        if wrote:
            await self.life.effect(name)


class MortalRpc(JsonRpc):
    """A node's interface that tells a life of what was sent."""

    life: Life

    def forget(self, clock: Monotonic) -> None:
        """Know nothing of how the node behaved before, as a process that starts does."""
        self.breaker = Breaker(self.address, threshold=FAILURES, rest=REST_S, clock=clock)
        self.throttle = Throttle(clock)

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        name = f"{maker()} sends"
        try:
            return await super().call(method, params)
        finally:
            if method == SEND:
                await self.life.effect(name)


class MortalBlobStore(LocalBlobStore):
    """A blob store that tells a life of what it keeps under a name."""

    life: Life

    async def put_named(self, space: str, name: str, data: bytes) -> None:
        effect = f"{maker()} keeps {space}"
        await super().put_named(space, name, data)
        await self.life.effect(effect)


async def _has_written(conn: AsyncConnection[TupleRow]) -> bool:
    """Whether a transaction has changed or locked anything."""
    cursor = await conn.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
    return (await cursor.fetchall())[0][0] is True


def maker() -> str:
    """Name the function of the platform's chain side that is at work, past those that only open a transaction for it."""
    frame = sys._getframe(1)
    while frame := frame.f_back:  # type: ignore[assignment]
        code = frame.f_code
        if _OURS.search(code.co_filename) and not code.co_flags & inspect.CO_ASYNC_GENERATOR:
            return f"{Path(code.co_filename).stem}.{code.co_qualname}"
    return "the scheduler"
