"""The application of Celery's worker, and the client that submits to it; both run in Celery's own environment.

As a program it is the client, and first says Celery's version. A line `FIRST COUNT` on its standard input submits that
many jobs, and is answered by the time when the last call returned, in nanoseconds since the epoch.
"""

import os
import sys
import time

from celery import Celery, __version__

from bench.engine import environment
from bench.engine.marks import mark

app = Celery("bench")
app.conf.update(
    broker_url=os.environ[environment.REDIS_URL],
    broker_connection_retry_on_startup=True,
    task_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    worker_hijack_root_logger=False,
)


def _noop(number: int) -> None:
    mark(number)


noop = app.task(name="bench.noop")(_noop)


def main() -> None:
    """Serve orders until standard input ends."""
    _answer(__version__)
    for line in sys.stdin:
        first, count = map(int, line.split())
        for number in range(first, first + count):
            noop.delay(number)
        _answer(time.time_ns())


def _answer(value: object) -> None:
    sys.stdout.write(f"{value}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
