"""Plain RQ: two SimpleWorkers. As a program it is one of them: `python -m bench.engine.contenders.rq NAME`."""

import os
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from redis import Redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from bench.engine import environment
from bench.engine.contender import WORKERS, Contender
from bench.engine.marks import mark
from bench.engine.servers import Stores

_QUEUE = "bench"
_CHUNK = 500


def noop(number: int) -> None:
    """Leave a mark."""
    mark(number)


class Rq(Contender):
    """RQ as its documentation starts it, without results."""

    name = "rq"

    def __init__(self, stores: Stores, home: Path) -> None:
        super().__init__(stores, home)
        self._redis = Redis.from_url(stores.redis_url)
        self._queue = Queue(_QUEUE, connection=self._redis, serializer=JSONSerializer)
        self._workers = [f"bench-{number}" for number in range(WORKERS)]

    def start(self) -> None:
        """Start the workers."""
        for worker in self._workers:
            self.launch(
                "workers",
                ["-m", "bench.engine.contenders.rq", worker],
                {environment.REDIS_URL: self.stores.redis_url},
            )

    def settings(self) -> dict[str, str]:
        """Say what is not RQ's default."""
        return {
            "rq": version("rq"),
            "workers": f"{WORKERS} x SimpleWorker",
            "serializer": "JSON",
            "result_ttl": "0",
            "logging": "WARNING",
        }

    def stop(self) -> None:
        """Stop the workers."""
        super().stop()
        self._redis.close()

    def submit_many(self, numbers: Sequence[int]) -> None:
        """Enqueue in few round trips."""
        for start in range(0, len(numbers), _CHUNK):
            self._queue.enqueue_many(
                [
                    Queue.prepare_data(noop, args=[number], result_ttl=0)
                    for number in numbers[start : start + _CHUNK]
                ]
            )

    def submit_one(self, number: int) -> int:
        """Enqueue."""
        self._queue.enqueue(noop, number, result_ttl=0)
        return time.time_ns()

    def is_settled(self, total: int) -> bool:
        """Whether the workers counted as many successes."""
        counts = [self._redis.hget(f"rq:worker:{name}", "successful_job_count") for name in self._workers]
        return sum(int(count) for count in counts if count is not None) == total


def main(name: str) -> None:
    """Work until SIGTERM."""
    connection = Redis.from_url(os.environ[environment.REDIS_URL])
    worker = SimpleWorker([_QUEUE], name=name, connection=connection, serializer=JSONSerializer)
    worker.work(logging_level="WARNING")


if __name__ == "__main__":
    main(sys.argv[1])
