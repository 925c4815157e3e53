"""What the soak breaks."""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
import redis

from bench.soak.platform import LEASE_S, Platform

Fault = Callable[[Platform, random.Random], str]


def _kill(*pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_pool(platform: Platform, chance: random.Random) -> str:
    """The parent of a pool of workers dies."""
    name = chance.choice(["workers 1", "workers 2"])
    _kill(*platform.tree(name)[:1])
    return f"SIGKILL of {name}"


def kill_worker(platform: Platform, chance: random.Random) -> str:
    """A process somewhere in a pool dies: a worker, a work-horse, or a handler's own."""
    name = chance.choice(["workers 1", "workers 2"])
    below = platform.tree(name)[1:]
    if below:
        _kill(chance.choice(below))
    return f"SIGKILL of one of {len(below)} processes of {name}"


def freeze_pool(platform: Platform, chance: random.Random) -> str:
    """A pool stands still for longer than its leases, and then goes on as if nothing had been."""
    name = chance.choice(["workers 1", "workers 2"])
    frozen = platform.tree(name)
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if number is signal.SIGSTOP:
            time.sleep(LEASE_S + 2)
    return f"{name} frozen for {LEASE_S + 2} s"


def kill_relayer(platform: Platform, chance: random.Random) -> str:
    """A relayer dies; it may lead any of the loops."""
    name = chance.choice(["relayer 1", "relayer 2"])
    _kill(*platform.tree(name)[:1])
    return f"SIGKILL of {name}"


def kill_api(platform: Platform, chance: random.Random) -> str:
    """The API dies."""
    _kill(*platform.tree("api"))
    return "SIGKILL of the API"


def wipe_queue(platform: Platform, chance: random.Random) -> str:
    """Everything in Valkey is gone."""
    with redis.Redis.from_url(platform.valkey.url) as client:
        client.flushall()
    return "FLUSHALL"


def kill_queue(platform: Platform, chance: random.Random) -> str:
    """Valkey dies and comes back empty."""
    away = chance.choice([1, 5, 30])
    _kill(platform.valkey.pid or 0)
    time.sleep(away)
    platform.valkey.start()
    return f"Valkey killed and away for {away} s"


def cut_connections(platform: Platform, chance: random.Random) -> str:
    """PostgreSQL drops every client."""
    with psycopg.connect(platform.postgres.admin_dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'jobseal'"
        )
    return "every connection to PostgreSQL cut"


def kill_database(platform: Platform, chance: random.Random) -> str:
    """PostgreSQL dies, as with a power cut, and recovers from its log."""
    _kill(platform.postgres.pid or 0)
    time.sleep(2)
    platform.postgres.start()
    return "PostgreSQL killed and away for 2 s"


FAULTS: tuple[Fault, ...] = (
    kill_pool,
    kill_worker,
    kill_worker,
    freeze_pool,
    kill_relayer,
    kill_relayer,
    kill_api,
    wipe_queue,
    kill_queue,
    cut_connections,
    kill_database,
)
