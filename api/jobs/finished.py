"""Answers to reads of jobs that cannot change any more, kept in the process.

A confirmed, cancelled or rejected job stays as it is, but for a revocation on chain. That is heard of at once
(`jobseal_answers`), and an answer is forgotten after `LIFETIME` in any case, where the news was lost.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from api.jobs.schemas import ID_PREFIX
from relayer.jobs.records import Job
from relayer.model.ids import to_public
from relayer.model.lifecycle import JobState
from relayer.settings import DatabaseSettings
from relayer.store.doorbell import Listener

CHANNEL = "jobseal_answers"
LIFETIME = timedelta(seconds=30)
SIZE = 4_096

# A failed job may be redriven.
_FINISHED = frozenset({JobState.CONFIRMED, JobState.CANCELLED, JobState.REJECTED})
_PATH = "/v1/jobs/"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a read of a job gave; `until` is by the clock that never jumps."""

    tenant_id: UUID
    etag: str
    body: bytes
    until: float


class FinishedAnswers:
    """Answers by the path that they were asked for at; of too many, the oldest are forgotten."""

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        size: int = SIZE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size = size
        self._monotonic = monotonic
        self._answers: dict[str, Answer] = {}
        self._listener = Listener(settings, CHANNEL, heard=self.drop, missed=self.clear)
        self.generation = 0
        """Rises with whatever is forgotten on news: an answer that was read before may be out of date."""

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Listen for news inside the block."""
        listening = asyncio.create_task(self._listener.listen(), name="news of jobs")
        try:
            yield
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    def keep(self, job: Job, etag: str, body: bytes, generation: int) -> None:
        """Remember an answer, where its job has come to an end that lasts; `generation`: as it was before the read."""
        if job.state not in _FINISHED or generation != self.generation:
            return
        path = _path(to_public(ID_PREFIX, job.id))
        self._answers.pop(path, None)
        if len(self._answers) >= self._size:
            del self._answers[next(iter(self._answers))]
        until = self._monotonic() + LIFETIME.total_seconds()
        self._answers[path] = Answer(job.tenant_id, etag, body, until)

    def find(self, path: str) -> Answer | None:
        """Give the answer for a path, whoever asks."""
        answer = self._answers.get(path)
        if answer is not None and self._monotonic() >= answer.until:
            del self._answers[path]
            return None
        return answer

    def drop(self, job_id: str) -> None:
        """Forget a job, given by its UUID."""
        self.generation += 1
        self._answers.pop(_path(f"{ID_PREFIX}_{job_id}"), None)

    def clear(self) -> None:
        """Forget everything."""
        self.generation += 1
        self._answers.clear()


def _path(public_id: str) -> str:
    return f"{_PATH}{public_id}"
