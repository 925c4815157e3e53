"""One RQ worker process: `python -m relayer.jobs.rq_worker MODE PARENT_PID`."""

import contextlib
import logging
import os
import signal
import sys

from redis import Redis
from rq import SimpleWorker, Worker
from rq.serializers import JSONSerializer

from relayer.jobs import entry
from relayer.jobs.handlers.base import Mode
from relayer.jobs.queue import queue_name
from relayer.jobs.tied import die_with
from relayer.settings import RedisSettings


class QuietWorker(Worker):
    """RQ's forking worker: each RQ job runs in a work-horse."""

    def procline(self, message: str) -> None:
        """Leave the process's name as it is."""

    def handle_warm_shutdown_request(self) -> None:
        """Let the work-horse know that its time of grace begins."""
        if self.horse_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGTERM)


class QuietSimpleWorker(SimpleWorker):
    """RQ's worker that runs RQ jobs in its own process."""

    def procline(self, message: str) -> None:
        """Leave the process's name as it is."""

    def handle_warm_shutdown_request(self) -> None:
        """Begin the time of grace."""
        entry.drain_inline()


_CLASSES = {Mode.INLINE: QuietSimpleWorker, Mode.ISOLATED: QuietWorker}


def main(mode: Mode, parent: int) -> None:
    """Work until SIGTERM or SIGINT, which lets the work at hand end first."""
    die_with(parent)
    for name in ("rq", "rq.worker", "rq.job", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if mode is Mode.INLINE:
        entry.warm_up()
    connection = Redis.from_url(RedisSettings().url.get_secret_value())
    worker = _CLASSES[mode]([queue_name(mode)], connection=connection, serializer=JSONSerializer)
    worker.work(logging_level="CRITICAL")


if __name__ == "__main__":
    main(Mode(sys.argv[1]), int(sys.argv[2]))
