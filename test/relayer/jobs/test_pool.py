"""The parent of the workers, while a store is away."""

import os
import subprocess
import sys

import pytest


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


def test_workers_stay_small() -> None:
    code = (
        "import sys, relayer.jobs.rq_worker; print(sorted({'web3', 'ape', 'eth_account'} & set(sys.modules)))"
    )
    completed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert completed.stdout == "[]\n"
