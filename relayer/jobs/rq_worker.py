"""One RQ worker process: `python -m relayer.jobs.rq_worker MODE PARENT_PID SCRATCH_FOLDER`.

RQ gives the queues, the fork and the stop command. What would make the loss of Redis the loss of a job is changed
here: Redis carries ids and signs of life only, so nothing that fails there may end a job that runs.
"""

import logging
import os
import signal
import sys
import traceback
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue, SimpleWorker, Worker
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker.base import BaseWorker, WorkerStatus

from relayer.jobs import entry
from relayer.jobs.handlers.base import Mode
from relayer.jobs.queue import queue_name
from relayer.jobs.scratch import make_empty
from relayer.jobs.tied import die_with, end_descendants, hide_memory, take_in_orphans
from relayer.settings import RedisSettings, WorkerSettings

if TYPE_CHECKING:
    from redis.client import Pipeline

# How long a worker waits for work before it asks again: a Redis that vanished without a word is noticed 10 s later.
_WORKER_TTL_S = 20
_CONNECT_TIMEOUT_S = 5
# A part of the time for which RQ keeps a worker's sign of life, a minute and more.
_SIGN_EVERY = timedelta(seconds=5)


class _Steadfast(BaseWorker):
    """What the two kinds of workers share."""

    # RQ doubles its pause up to a minute; work waits as long when Redis is back.
    max_connection_wait_time = 2.0

    def procline(self, message: str) -> None:
        """Leave the process's name as it is."""

    def set_state(self, state: str, pipeline: "Pipeline | None" = None) -> None:
        """Tell RQ's dashboards what this worker does, where they can be told."""
        with suppress(RedisError):
            super().set_state(state, pipeline)

    def heartbeat(self, timeout: int | None = None, pipeline: "Pipeline | None" = None) -> None:
        """Give a sign of life, but not three round trips before and after every RQ job."""
        is_recent = self.last_heartbeat is not None and now() - self.last_heartbeat < _SIGN_EVERY
        if pipeline is not None or not is_recent:
            super().heartbeat(timeout, pipeline)

    def set_shutdown_requested_date(self) -> None:
        """Tell nobody: the signal handler that asks for it must not wait for Redis."""

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """Do nothing: what a second signal asks for is under way."""

    def teardown(self) -> None:
        """Sign off, where Redis answers."""
        with suppress(RedisError):
            super().teardown()  # type: ignore[no-untyped-call]


class QuietWorker(_Steadfast, Worker):
    """RQ's forking worker: each RQ job runs in a work-horse."""

    lease_s: float

    def handle_warm_shutdown_request(self) -> None:
        """Let the work-horse know that its time of grace begins."""
        if self.horse_pid:
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGTERM)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Fork so that no SIGTERM falls between worker and horse: it stays pending until both can take it."""
        make_empty(entry.scratch)
        entry.pulse.beat()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        super().fork_work_horse(job, queue)
        if self._stop_requested:
            self.handle_warm_shutdown_request()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Be the work-horse, and die with the worker."""
        assert self.pid is not None
        try:
            die_with(self.pid)
        except SystemExit:
            # Past the worker's own clean-up, which is not this process's.
            os._exit(1)
        super().main_work_horse(job, queue)

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Kill a horse that stands still: its lease is lost, and nobody else might tell it."""
        if entry.pulse.age_s() > self.lease_s:
            self.kill_horse(signal.SIGKILL)
        with suppress(RedisError):
            super().maintain_heartbeats(job, execution)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run one RQ job, and clear away what a horse that was killed left."""
        try:
            super().execute_job(job, queue)
        finally:
            end_descendants()
            make_empty(entry.scratch)


class QuietSimpleWorker(_Steadfast, SimpleWorker):
    """RQ's worker that runs RQ jobs in its own process."""

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Begin one RQ job, without RQ's books about it: PostgreSQL keeps better ones, and a lone job waits for them."""
        try:
            job.perform()
        except Exception:  # noqa: BLE001 - attempts that were not opened are pushed again, others lose their lease
            traceback.print_exc()
        with suppress(RedisError), self.connection.pipeline() as pipeline:
            self.set_state(WorkerStatus.BUSY, pipeline)
            pipeline.lrem(queue.intermediate_queue_key, 1, job.id)
            pipeline.delete(job.key)
            pipeline.execute()
        entry.inline_desk().wait_for_room()

    def handle_warm_shutdown_request(self) -> None:
        """Begin the time of grace."""
        entry.drain_inline()


def main(mode: Mode, parent: int, scratch: Path) -> None:
    """Work until SIGTERM or SIGINT, which lets the work at hand end first."""
    die_with(parent)
    hide_memory()
    for name in ("rq", "rq.worker", "rq.job", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    worker = _make(mode, scratch)
    worker.work(logging_level="CRITICAL")
    if mode is Mode.INLINE:
        entry.drain_inline()
        entry.inline_desk().wait_until_idle()


def _make(mode: Mode, scratch: Path) -> BaseWorker:
    connection = Redis.from_url(
        RedisSettings().url.get_secret_value(),
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        # Once more for a connection that broke unnoticed; longer absences are met by asking again later.
        retry=Retry(NoBackoff(), 1),
    )
    settings = WorkerSettings()
    interval_s = max(1, round(settings.lease.total_seconds() / 2))
    if mode is Mode.INLINE:
        entry.inline_desk()  # so that the first attempt need not wait for its connections
        worker_class: type[BaseWorker] = QuietSimpleWorker
    else:
        take_in_orphans()
        entry.scratch = scratch
        make_empty(scratch)
        QuietWorker.lease_s = settings.lease.total_seconds()
        worker_class = QuietWorker
    return worker_class(
        [queue_name(mode)],
        connection=connection,
        serializer=JSONSerializer,
        worker_ttl=_WORKER_TTL_S,
        job_monitoring_interval=interval_s,
    )


if __name__ == "__main__":
    main(Mode(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
