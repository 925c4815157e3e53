"""Celery: one worker with two prefork processes, and a client process, both in an environment of their own."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from redis import Redis

from bench.engine import environment
from bench.engine.contender import ROOT, WORKERS, Contender
from bench.engine.servers import Stores
from relayer.local.process import ServerError

PYTHON = ROOT / ".tools/bench/bin/python"


class Celery(Contender):
    """Celery with its own defaults, except that results are ignored and messages are JSON."""

    name = "celery"

    def __init__(self, stores: Stores, home: Path) -> None:
        super().__init__(stores, home)
        self._redis = Redis.from_url(stores.redis_url)
        self._client: subprocess.Popen[str] | None = None
        self._version = ""

    def start(self) -> None:
        """Start the worker and the client."""
        if not PYTHON.exists():
            raise ServerError("Celery is not installed; run `make bench-engine`")
        app = ["-m", "celery", "--app", "bench.engine.celery_app", "worker", "--loglevel", "WARNING"]
        self.launch(
            "workers",
            [*app, "--pool", "prefork", "--concurrency", str(WORKERS)],
            {environment.REDIS_URL: self.stores.redis_url},
            PYTHON,
        )
        self._client = subprocess.Popen(
            [PYTHON, "-m", "bench.engine.celery_app"],
            env={"PYTHONPATH": str(ROOT), environment.REDIS_URL: self.stores.redis_url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._version = self._read()

    def settings(self) -> dict[str, str]:
        """Say what is not Celery's default, and the defaults that matter."""
        return {
            "celery": self._version,
            "workers": f"prefork, concurrency {WORKERS}",
            "broker": "redis",
            "serializer": "JSON",
            "ignore_result": "true",
            "acks_late": "false (default)",
            "prefetch_multiplier": "4 (default)",
            "logging": "WARNING",
        }

    def stop(self) -> None:
        """Stop worker and client."""
        super().stop()
        if self._client is not None:
            stdin, stdout = self._pipes()
            stdin.close()
            self._client.wait(10)
            stdout.close()
        self._redis.close()

    def submit_many(self, numbers: Sequence[int]) -> None:
        """Submit one after the other."""
        self._order(numbers[0], len(numbers))

    def submit_one(self, number: int) -> int:
        """Submit, timed in the client."""
        return self._order(number, 1)

    def is_settled(self, total: int) -> bool:
        """Whether nothing waits or is unacknowledged; a job is acknowledged before it begins."""
        return self._redis.llen("celery") == 0 and self._redis.hlen("unacked") == 0

    def _order(self, first: int, count: int) -> int:
        stdin, _ = self._pipes()
        stdin.write(f"{first} {count}\n")
        stdin.flush()
        return int(self._read())

    def _read(self) -> str:
        _, stdout = self._pipes()
        line = stdout.readline()
        if not line:
            raise ServerError("Celery's client ended; its last words are above")
        return line.strip()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._client is not None
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        return self._client.stdin, self._client.stdout
