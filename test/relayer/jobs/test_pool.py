"""The parent of the workers."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from support import Platform, children_of

from relayer import settings
from relayer.store.database import Database


@pytest.mark.parametrize(
    ("variable", "url", "line"),
    [
        (
            "JOBSEAL_REDIS_URL",
            "redis://:secret@127.0.0.1:9/0",
            "not ready: Redis at 127.0.0.1:9 does not answer\n",
        ),
        (
            "JOBSEAL_DATABASE_URL",
            "postgresql://user:secret@127.0.0.1:9/db",
            "not ready: PostgreSQL at 127.0.0.1:9 does not answer\n",
        ),
    ],
)
def test_it_says_once_what_is_missing_and_waits(
    environment: dict[str, str], variable: str, url: str, line: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "relayer.cli.main", "worker"],
        env=os.environ | environment | {variable: url},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == line
        process.terminate()
        assert process.stderr.read() == ""
        assert process.wait() == 0


def test_it_waits_for_the_schema_of_its_version(
    environment: dict[str, str], superuser: psycopg.Connection[Any]
) -> None:
    superuser.execute("CREATE DATABASE unmigrated")
    try:
        url = environment["JOBSEAL_DATABASE_URL"].rpartition("/")[0] + "/unmigrated"
        with subprocess.Popen(
            [sys.executable, "-m", "relayer.cli.main", "worker"],
            env=os.environ | environment | {"JOBSEAL_DATABASE_URL": url},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            process.terminate()
            assert process.stderr.read() == ""
            assert process.wait() == 0
        assert 'relation "workers" does not exist); run `jobseal admin migrate` first' in line
    finally:
        superuser.execute("DROP DATABASE unmigrated WITH (FORCE)")


def test_workers_stay_small() -> None:
    code = (
        "import sys, relayer.jobs.rq_worker; print(sorted({'web3', 'ape', 'eth_account'} & set(sys.modules)))"
    )
    completed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert completed.stdout == "[]\n"


async def test_a_worker_that_dies_is_started_again(platform: Platform, tenants: list[UUID]) -> None:
    with platform.workers(1, 0) as pool:
        assert (await platform.end_of(tenants[0], "digest", {"text": "a"})).state == "completed"
        (worker,) = children_of(pool.pid)
        os.kill(worker, signal.SIGKILL)
        assert (await platform.end_of(tenants[0], "digest", {"text": "b"})).state == "completed"
        (other,) = children_of(pool.pid)
        assert other != worker


async def test_a_job_says_that_nothing_could_run_it(platform: Platform, tenants: list[UUID]) -> None:
    job = await platform.submit(tenants[0], "test.nap", {"seconds": 600.0})

    async def waits_for_a_worker() -> bool:
        (seen,) = await platform.seen(tenants[0], [job])
        return (seen.state, seen.status_reason) == ("created", "no_worker")

    async def runs() -> bool:
        (seen,) = await platform.seen(tenants[0], [job])
        return (seen.state, seen.status_reason) == ("processing", None)

    await platform.until(waits_for_a_worker)
    with platform.workers(1, 0) as pool:
        await platform.until(runs)
        assert len(await platform.rows("SELECT 1 FROM workers")) == 1
        pool.kill()
        # Nobody signed off for it: its lease and its announcement run out.
        await platform.until(waits_for_a_worker)
    assert await platform.rows("SELECT 1 FROM workers WHERE expires_at > clock_timestamp()") == []


async def test_a_cap_is_a_reason_to_wait(platform: Platform, tenants: list[UUID], owner_db: Database) -> None:
    async with owner_db.transaction() as conn:
        await conn.execute("UPDATE tenants SET running_cap = 1 WHERE id = %s", [tenants[0]])
        await conn.execute("INSERT INTO kind_caps VALUES ('test.sleep', 1)")
        await conn.execute(
            "INSERT INTO workers SELECT gen_random_uuid(), mode, 'w', 1, now(), 'infinity'"
            " FROM unnest('{inline,isolated}'::text[]) AS mode"
        )
    mine = [await platform.submit(tenants[0], "test.nap", {"seconds": 0.0}) for _ in range(2)]
    of_the_kind = [await platform.submit(tenants[1], "test.sleep", {"seconds": 0.0}) for _ in range(2)]
    await platform.dispatch()
    # What holds a queue is noted before it is served, so it shows with the next pass.
    await platform.dispatch()
    assert [job.status_reason for job in await platform.seen(tenants[0], mine[1:])] == ["tenant_cap"]
    assert [job.status_reason for job in await platform.seen(tenants[1], of_the_kind[1:])] == ["kind_cap"]


def test_the_number_of_workers_follows_the_cores() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from relayer.settings import *; "
        "print(cores(), WorkerSettings().inline, WorkerSettings().isolated)"
    )
    completed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert completed.stdout == "1 1 1\n"


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 8), ("150000 100000", 2), ("10000 100000", 1)]
)
def test_the_quota_of_a_container_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, expected: int
) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(settings, "_CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert settings.cores() == expected
