"""What can happen to a process between two of its effects: it dies, its database breaks, another one leads."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from faultproxy.answers import SEND
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from relayer.chain.rpc import JsonRpc
from relayer.store.database import Database

Event = Callable[[], Awaitable[None]]


class KilledError(BaseException):
    """Ends a pass where a SIGKILL would."""


class Life:
    """Counts the effects of a process: commits, and transactions that were sent.

    `strike` lets something happen after the next effects; `break_database` lets the server end the next transactions.
    """

    def __init__(self) -> None:
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

    async def effect(self) -> None:
        """Count an effect."""
        if self._dead:
            raise KilledError
        self._effects += 1
        if (event := self._strikes.pop(self._effects, None)) is not None:
            await event()


class MortalDatabase(Database):
    """A database that tells a life of its commits."""

    life: Life

    @asynccontextmanager
    async def transaction(self, tenant: UUID | None = None) -> AsyncIterator[AsyncConnection[TupleRow]]:
        breaking = self.life.begin()
        async with super().transaction(tenant) as conn:
            yield conn
            if breaking is not None:
                await conn.execute(breaking.encode())
        await self.life.effect()


class MortalRpc(JsonRpc):
    """A node's interface that tells a life of what was sent."""

    life: Life

    async def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        try:
            return await super().call(method, params)
        finally:
            if method == SEND:
                await self.life.effect()
