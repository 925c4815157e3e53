"""The short window of work in Redis, as RQ 3 queues: ids only, as JSON. All of it may vanish at any time."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.serializers import JSONSerializer

from relayer.jobs.handlers.base import Mode
from relayer.model.errors import UnavailableError
from relayer.settings import RedisSettings
from relayer.store.database import server_address

T = TypeVar("T")

_ENTRIES = {
    Mode.INLINE: "relayer.jobs.entry.run_inline",
    Mode.ISOLATED: "relayer.jobs.entry.run_isolated",
}
_TIMEOUT_S = 3.0
# The platform's own limits hold; RQ's clock is switched off, and a failed entry leaves nothing for long.
_NO_TIMEOUT = -1
_FAILURE_TTL_S = 60


@dataclass(frozen=True)
class Parcel:
    """One RQ job: its id, and the attempts that it carries; one that runs `alone` has no others beside it."""

    queue_job_id: UUID
    attempts: tuple[UUID, ...]
    alone: bool = False


def queue_name(mode: Mode) -> str:
    """Give the name of the RQ queue that serves a mode."""
    return f"jobseal-{mode}"


class JobQueue:
    """The RQ queues, one a mode.

    Every method raises `UnavailableError`, naming host and port, when Redis does not answer.
    """

    def __init__(self, settings: RedisSettings) -> None:
        url = settings.url.get_secret_value()
        self._address = server_address(url, default_port=6379)
        self._redis = Redis.from_url(
            url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            # Once more for a connection that broke unnoticed; the callers ask again by themselves.
            retry=Retry(NoBackoff(), 1),
        )
        self._queues = {
            mode: Queue(queue_name(mode), connection=self._redis, serializer=JSONSerializer) for mode in Mode
        }
        logging.getLogger("rq").setLevel(logging.WARNING)

    async def push(self, mode: Mode, parcels: Sequence[Parcel]) -> None:
        """Put work at the end of a mode's queue, in one round trip."""
        await self._ask(lambda: self._push(mode, parcels))

    async def waiting(self, mode: Mode) -> set[UUID]:
        """Give the ids of the RQ jobs that wait in a mode's queue."""
        return {UUID(job_id) for job_id in await self._ask(self._queues[mode].get_job_ids)}

    async def stop(self, queue_job_id: UUID) -> None:
        """Have the worker that runs an RQ job kill its work-horse; nothing where none runs it."""
        await self._ask(lambda: self._stop(str(queue_job_id)))

    async def ping(self) -> None:
        """Raise unless Redis answers."""
        await self._ask(self._redis.ping)

    def _push(self, mode: Mode, parcels: Sequence[Parcel]) -> None:
        self._queues[mode].enqueue_many(
            [
                Queue.prepare_data(
                    _ENTRIES[mode],
                    args=[[str(attempt) for attempt in parcel.attempts], *([True] if parcel.alone else [])],
                    job_id=str(parcel.queue_job_id),
                    timeout=_NO_TIMEOUT,
                    result_ttl=0,
                    failure_ttl=_FAILURE_TTL_S,
                    description=f"{len(parcel.attempts)} attempts",
                )
                for parcel in parcels
            ]
        )

    def _stop(self, job_id: str) -> None:
        with contextlib.suppress(InvalidJobOperation, NoSuchJobError):
            send_stop_job_command(self._redis, job_id, serializer=JSONSerializer)

    async def _ask(self, question: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(question)
        except RedisError as error:
            raise UnavailableError(f"Redis at {self._address} does not answer") from error
