"""Waiting for jobs to move on: one question a tick for all who wait in this process, none while nobody does.

Telling waiters by NOTIFY would cost every transition of every job; asking costs the same however few jobs are watched,
and one question answers for all of them.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import psycopg
import structlog

from relayer.jobs import watch_repository as repository
from relayer.model.errors import UnavailableError
from relayer.store.database import Database

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class _Waiter:
    """Somebody who knows a job at a version."""

    tenant: UUID
    job_id: UUID
    version: int
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class Watcher:
    """Wakes those who wait for jobs, at the latest `every` after the job's transition was committed."""

    def __init__(self, db: Database, every: timedelta) -> None:
        self._db = db
        self._every = every.total_seconds()
        self._waiters: set[_Waiter] = set()
        self._loop: asyncio.Task[None] | None = None

    async def wait(self, tenant: UUID, job_id: UUID, version: int, at_most: float) -> bool:
        """Wait until a job of a tenant is at another version, or gone; False where nothing came of it in `at_most` s."""
        waiter = _Waiter(tenant, job_id, version)
        self._waiters.add(waiter)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._look_while_anybody_waits())
        try:
            async with asyncio.timeout(max(0.0, at_most)):
                await waiter.moved.wait()
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True

    async def close(self) -> None:
        """Stop looking; whoever waits still is told nothing."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait({self._loop})

    async def _look_while_anybody_waits(self) -> None:
        while self._waiters:
            try:
                await self._look()
            except (UnavailableError, psycopg.Error) as error:
                # Those who wait learn it from their own next question.
                _log.warning("watcher_waits", error=str(error))
            await asyncio.sleep(self._every)

    async def _look(self) -> None:
        asked = list(self._waiters)
        watched: defaultdict[UUID, set[UUID]] = defaultdict(set)
        for waiter in asked:
            watched[waiter.tenant].add(waiter.job_id)
        async with self._db.pipelined() as conn:
            versions = await repository.versions(conn, watched)
        for waiter in asked:
            if versions.get(waiter.job_id) != waiter.version:
                waiter.moved.set()
